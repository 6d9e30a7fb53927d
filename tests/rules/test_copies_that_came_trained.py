"""NS401 for a second model that this run did not train: a loaded copy that is judged, a teacher, a feature extractor."""

from __future__ import annotations

import msgspec
import pytest

from normscope.record.recording import Recording
from normscope.record.story import story
from normscope.rules.state.inference_in_train_mode import inference_in_train_mode


def with_a_second_model(text: str) -> Recording:
    """The story, whose layer b belongs to a model of its own that no optimizer holds and no step changes."""
    recording = story(text)
    first = next(iter(recording.models.values()))
    recording.models[1] = msgspec.structs.replace(
        first, id=1, name="Copy", optimized=False, parameters_changed=False
    )
    layer = next(x for x in recording.layers.values() if x.path == "b")
    recording.layers[layer.id] = msgspec.structs.replace(layer, model=1)
    return recording


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ("layer a; layer b; train a x50; infer b x4 scored=4", "warning"),
        ("layer a; layer b; train a x50; infer b x4", "info"),  # features, for whatever use
        (
            "layer a; layer b; train a x50; infer b since=0 x50 blocks=50 scored=50; train a x1",
            "info",
        ),
        ("layer a; layer b; train a x50; train b x1; infer b x4 scored=4", "info"),
        ("layer a; layer b; train a x50; infer b mode=eval x4 scored=4", None),
    ],
    ids=["judged", "not judged", "beside every step", "part of a training forward", "in eval mode"],
)
def test_a_copy_is_blamed_only_when_it_is_judged_after_the_run(
    text: str, severity: str | None
) -> None:
    found = [
        f for f in inference_in_train_mode.check(with_a_second_model(text)) if f.layers == ("b",)
    ]
    assert [f.severity for f in found] == ([severity] if severity else [])

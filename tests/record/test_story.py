"""Recordings told in a few lines: what rules are tested on is what the words say."""

from __future__ import annotations

import math

import pytest

from normscope.record.story import story

TOLD = """
model name=Gan optimized=False
layer a channels=8 momentum=0.01 type=BatchNorm1d
layer b tracks=False
train a,b batch=32 values=800 x100
infer a mode=train batch=64 x6 blocks=2 then=training scored=3
train a batch=3 recomputed=True x2
infer a,b mode=eval x4
event single-value layer=a step=7 detail=one
poll a 10 mean_noise=0.5
poll a 20 mean_noise=0.25 collapsed=1.0
loss 20 0.75
loss 10 1.5
end exception ValueError
"""


def test_every_statement() -> None:
    r = story(TOLD)
    assert (r.steps, r.status) == (102, "exception ValueError")
    [model] = r.models.values()
    assert (model.name, model.optimized, model.norm_layers) == ("Gan", False, 2)
    a, b = r.layers.values()
    assert (a.path, a.channels, a.momentum, a.type) == ("a", 8, 0.01, "BatchNorm1d")
    assert not b.tracks
    # 100 training, 6 inference, and twice 2 with recomputation.
    assert (a.updates, b.updates) == (110, 0)
    first, second, third, fourth = r.spans
    assert [s.kind for s in r.spans] == ["training", "inference", "training", "inference"]
    assert (first.forwards, first.first_step, first.last_step) == (100, 0, 99)
    assert [(c.layer, c.updates, c.samples, c.values) for c in r.patterns[first.pattern].calls] == [
        (0, True, 32, 800),
        (1, False, 32, 800),
    ]
    assert (second.forwards, second.blocks, second.first_step, second.scored) == (6, 2, 100, 3)
    assert second.followed_by == {"training": 2}
    assert second.after_end == 0
    assert [c.recomputed for c in r.patterns[third.pattern].calls] == [False, True]
    assert (fourth.after_end, fourth.followed_by) == (4, {"end": 1})
    assert not any(c.batch_stats for c in r.patterns[fourth.pattern].calls)
    assert not r.patterns[fourth.pattern].training
    [event] = r.events
    assert (event.kind, event.layer, event.step, event.detail) == ("single-value", 0, 7, "one")
    assert r.polls is not None
    assert r.polls.steps.tolist() == [10, 20]
    assert r.polls.values["mean_noise"][:, 0].tolist() == [0.5, 0.25]
    assert math.isnan(r.polls.values["collapsed"][0, 0])
    assert r.scalars is not None
    assert r.scalars.steps.tolist() == [10, 20]
    assert r.scalars.loss.tolist() == [1.5, 0.75]


def test_calls_of_a_layer_in_order() -> None:
    r = story("layer a; layer b; train a batch=4; infer b; train a,b batch=8")
    sizes = [(span.kind, call.samples) for span, _, call in r.calls(0)]
    assert sizes == [("training", 4), ("training", 8)]
    assert [span.kind for span, _, _ in r.calls(1, "inference")] == ["inference"]
    assert [(p.id, c.layer) for _, p, c in r.calls(1, "training")] == [(2, 1)]


def test_the_layer_behind_a_path() -> None:
    r = story("layer a; layer b.c")
    found = r.layer_at(0, "b.c")
    assert found is not None
    assert found.id == 1
    assert r.layer_at(0, "c") is None
    assert r.layer_at(1, "a") is None


def test_one_statement_a_line_or_between_semicolons() -> None:
    assert story("layer a\ntrain a x3\nend exit 1") == story("layer a; train a x3; end exit 1")


def test_defaults() -> None:
    r = story("layer a; train a")
    [call] = r.patterns[0].calls
    assert (call.batch_stats, call.updates, call.samples, call.values) == (True, True, 32, 32)
    assert (r.status, r.models[0].name, r.models[0].optimized) == ("exit 0", "Net", True)
    assert (r.polls, r.scalars) == (None, None)


@pytest.mark.parametrize(
    ("told", "raised", "message"),
    [
        ("layer a; breathe a", ValueError, "end; got `.*breathe a`"),
        ("train a", KeyError, "a"),
        ("layer a colour=blue", TypeError, "colour"),
    ],
)
def test_what_a_story_cannot_say(told: str, raised: type[Exception], message: str) -> None:
    with pytest.raises(raised, match=message):
        story(told)

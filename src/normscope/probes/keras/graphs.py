# pyright: basic
"""The graphs of the models of a run, captured at its end from the shapes of a kept batch: nothing is computed for them."""

from __future__ import annotations

from typing import Any

from keras import KerasTensor
from keras.src import tree

from normscope.graph.keras import capture
from normscope.graph.keras.lines import with_lines
from normscope.probes.keras.asking import untouched
from normscope.record.keras import Observer
from normscope.record.keras.registry import Root

SAMPLES = 32  # where the size of a batch was never told


def keep(observer: Observer) -> None:
    """Capture every trained model that is alive; one that cannot be captured is told."""
    for root in observer.registry.roots:
        if not (root.layers and root.model is not None and root.record.parameters_changed):
            continue
        try:
            _keep(observer, root)
        except Exception as error:  # noqa: BLE001
            detail = (
                f"{root.record.name}: its graph was not captured: {type(error).__name__}: {error}"
            )
            observer.event("not-captured", model=root.record.id, detail=detail)


def _keep(observer: Observer, root: Root) -> None:
    if (given := _arguments(observer, root)) is None:
        return
    args, kwargs = given
    with untouched(root.model, observer.backend):
        graph = capture(root.model, args, kwargs, training=True, model_id=root.record.id)
    lines = {x.record.path: x.record.site for x in root.layers}
    observer.store.put_graph(with_lines(graph, lines))


def _arguments(observer: Observer, root: Root) -> tuple[Any, Any] | None:
    """Of a kept batch, or else the shapes of the first call; sizes that were not known then are those of training."""
    number = root.record.id
    if batches := observer.kept.batches.get(number):
        return batches[0].args, batches[0].kwargs
    if not root.shapes:
        return None
    patterns = observer.timeline.patterns.values()
    sizes = (p.calls[0].samples for p in patterns if p.model == number and p.training and p.calls)
    samples = max(sizes, default=0) or SAMPLES

    def sized(value: Any) -> Any:
        if not isinstance(value, KerasTensor) or None not in value.shape:
            return value
        first, *rest = value.shape
        if None in rest:
            raise ValueError(f"the size of its input {value.shape} was never seen")
        return KerasTensor((first or samples, *rest), value.dtype)

    found: Any = tree.map_structure(sized, root.shapes)
    return found

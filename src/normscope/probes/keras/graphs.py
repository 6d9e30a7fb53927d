# pyright: basic
"""The graphs of the models of a run, captured at its end from the shapes of a kept batch: nothing is computed for them."""

from __future__ import annotations

from normscope.graph.keras import capture
from normscope.graph.keras.lines import with_lines
from normscope.probes.keras.asking import untouched
from normscope.record.keras import Observer
from normscope.record.keras.registry import Root


def keep(observer: Observer) -> None:
    """Capture every trained model that is alive; one that cannot be captured is told."""
    for root in observer.registry.roots:
        if not (root.layers and root.model is not None and root.record.id in observer.kept.batches):
            continue
        try:
            _keep(observer, root)
        except Exception as error:  # noqa: BLE001
            detail = (
                f"{root.record.name}: its graph was not captured: {type(error).__name__}: {error}"
            )
            observer.event("not-captured", model=root.record.id, detail=detail)


def _keep(observer: Observer, root: Root) -> None:
    [batch, *_] = observer.kept.batches[root.record.id]
    with untouched(root.model, observer.backend):
        graph = capture(
            root.model, batch.args, batch.kwargs, training=True, model_id=root.record.id
        )
    lines = {x.record.path: x.record.site for x in root.layers}
    observer.store.put_graph(with_lines(graph, lines))

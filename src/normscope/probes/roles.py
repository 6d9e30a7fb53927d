# pyright: basic
"""What the script did with each model, as far as a probe must know: which layers it froze, which models it evaluates."""

from __future__ import annotations

from collections.abc import Iterator

from normscope.record.recording import Call, ForwardKind, Span
from normscope.record.torch.observer import Observer
from normscope.record.torch.roots import Root

LATE = 0.9  # of all steps; what was trained until then was trained to the end


def frozen(observer: Observer, root: Root | None = None) -> set[int]:
    """Ids of the layers whose every training call normalized with running statistics.

    Of a `root` that shares layers with other models, its own calls count, where it has any.
    """
    calls = list(_calls(observer, "training"))
    if root is not None and _kin(observer, root):
        calls = [c for c in calls if c[0] == root.record.id] or calls
    seen: dict[int, bool] = {}
    for _, _, call in calls:
        seen[call.layer] = seen.get(call.layer, False) or call.batch_stats
    return {layer for layer, batch_stats in seen.items() if not batch_stats}


def relied_on(observer: Observer, root: Root) -> bool | None:
    """Whether the script uses the running statistics of this model: it evaluates it with them, or leaves that to others.

    True for the one model trained to the end by a script that evaluates none. False where other models are
    evaluated and this one is not, for one of several where none is, and for one that rested while another went on to train
    layers that it shares. None when its training was not seen.
    """
    if _left_behind(observer, root):
        return False
    ended = _trained_until(observer)
    mine = {x.record.id for x in root.layers}
    if not mine & ended.keys():
        return None
    evaluated = {
        call.layer
        for _, span, call in _calls(observer, "inference")
        if not call.batch_stats and span.last_step
    }
    if mine & evaluated:
        return True
    if evaluated & ended.keys():
        return False
    late = {layer for layer, step in ended.items() if step >= LATE * max(ended.values())}
    return bool(mine & late) and late <= mine


def evaluated(observer: Observer, root: Root) -> bool:
    """Whether the script ran the model with running statistics, without training it, after its first step."""
    mine = {x.record.id for x in root.layers}
    return any(
        call.layer in mine and not call.batch_stats and span.last_step
        for _, span, call in _calls(observer, "inference")
    )


def _trained_until(observer: Observer) -> dict[int, int]:
    """The last step at which each layer was in a training forward."""
    until: dict[int, int] = {}
    for _, span, call in _calls(observer, "training"):
        until[call.layer] = max(until.get(call.layer, 0), span.last_step)
    return until


def _left_behind(observer: Observer, root: Root) -> bool:
    """Whether models that share layers with this one trained on after the last use of it."""
    kin = _kin(observer, root)
    if not kin:
        return False
    patterns = {p.id: p for p in observer.timeline.patterns.values()}
    used, trained = 0, 0
    for span in observer.timeline.spans:
        model = patterns[span.pattern].model
        if model == root.record.id:
            used = max(used, span.last_step)
        elif model in kin and span.kind == "training":
            trained = max(trained, span.last_step)
    return used < LATE * trained


def _kin(observer: Observer, root: Root) -> set[int]:
    """Ids of the models that hold some of the same norm layers."""
    mine = set(root.layers)
    roots = observer.registry.roots
    return {r.record.id for r in roots if r is not root and not mine.isdisjoint(r.layers)}


def _calls(observer: Observer, kind: ForwardKind) -> Iterator[tuple[int, Span, Call]]:
    """The model that ran, and what it did."""
    patterns = {p.id: p for p in observer.timeline.patterns.values()}
    for span in observer.timeline.spans:
        if span.kind == kind:
            pattern = patterns[span.pattern]
            for call in pattern.calls:
                yield pattern.model, span, call

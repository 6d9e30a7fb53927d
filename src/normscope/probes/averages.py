# pyright: basic
"""Averages of models (EMA, SWA, a server's of its clients'): asked on what the models that they are made of were trained on.

A model belongs to a family of models of one class and equal shapes. One that no optimizer steps and that the script evaluates with
running statistics may be an average of the others; whether its statistics are its own is then measured, not assumed.
"""

from __future__ import annotations

from normscope.probes import roles
from normscope.record.torch.batches import Kept
from normscope.record.torch.observer import Observer
from normscope.record.torch.roots import Root


def is_average(observer: Observer, root: Root) -> bool:
    """Whether the model may be one: copied, never stepped, without training inputs of its own, and relied on."""
    record = root.record
    return (
        root.related
        and not record.optimized
        and record.restored_from is None
        and not observer.kept.batches.get(record.id)
        and roles.evaluated(observer, root)
        and any(source.record.optimized for source in _family(observer, root))
    )


def batches(observer: Observer, root: Root) -> list[Kept]:
    """The kept training inputs of the model; for an average, those of its sources in the order of training."""
    own = observer.kept.batches.get(root.record.id, [])
    if own or not is_average(observer, root):
        return own
    sources = [observer.kept.batches.get(r.record.id, []) for r in _family(observer, root)]
    return sorted((b for kept in sources for b in kept), key=lambda b: b.step)


def frozen(observer: Observer, root: Root) -> set[int]:
    """Ids of the model's layers whose every training call, of its own or of its sources, used running statistics."""
    known = roles.frozen(observer, root)
    paths = {
        x.record.path for r in _family(observer, root) for x in r.layers if x.record.id in known
    }
    return known | {x.record.id for x in root.layers if x.record.path in paths}


def _family(observer: Observer, root: Root) -> list[Root]:
    """The other models of its kind: copies of one original, and that original."""
    original = _original(root)
    return [
        r
        for r in observer.registry.roots
        if r is not root and r.related and _original(r) == original
    ]


def _original(root: Root) -> int:
    return root.record.id if root.record.copy_of is None else root.record.copy_of

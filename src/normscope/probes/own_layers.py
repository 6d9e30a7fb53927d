# pyright: basic
"""What the end of a run asks of layers of the user's own that keep running statistics by themselves."""

from __future__ import annotations

from collections import Counter

from msgspec import structs
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.errors import NormscopeError
from normscope.probes import averages, own_gap, own_statistics, roles
from normscope.probes.recent import recent
from normscope.record.torch.batches import Kept
from normscope.record.torch.observer import Observer
from normscope.record.torch.roots import Root


def ask(
    observer: Observer, root: Root, model: nn.Module, batches: list[Kept], seconds: float
) -> bool:
    """Keep what they are, and the gap that they make; whether that gap stands for the whole model."""
    called = {c.layer for p in observer.timeline.patterns.values() for c in p.calls}
    norms = [(m, x.record) for x in root.layers if isinstance(m := x.module, _BatchNorm)]
    uncalled = [m for m, r in norms if r.id not in called and r.tracks and r.statistics_changed]
    if not (root.own or uncalled):
        return False
    still = averages.frozen(observer, root)
    frozen = [m for m, r in norms if r.id in still]
    name, number = root.record.name, root.record.id
    try:
        holders, found = own_statistics.find(
            model,
            recent(batches),
            places=root.own,
            uncalled=uncalled,
            frozen=frozen,
            model_id=number,
            name=name,
            seconds=0.5 * seconds,
        )
        told = _trained(observer, root)
        for each in found:
            observer.store.put_measurement("own_statistics", structs.replace(each, **told))
        if not found:
            return False
        root.record.norm_layers += sum(
            each.path not in {x.record.path for x in root.layers} for each in found
        )
        observer.store.put("model", number, root.record)
        running = [m for m, r in norms if r.id in called and r.tracks and m not in frozen]
        gap = own_gap.measure(
            model, recent(batches), holders, running, model_id=number, name=name, seconds=seconds
        )
    except NormscopeError as reason:
        observer.event("not-probed", model=number, detail=f"{name}: {reason}")
        return False
    used = bool(told["evaluations"]) or roles.relied_on(observer, root)
    observer.store.put_measurement("gap", structs.replace(gap, relied_on=used))
    return True


def _trained(observer: Observer, root: Root) -> dict[str, int]:
    """What is known of such a layer is what is known of its model: steps, samples, and forwards in evaluation mode."""
    patterns = {p.id: p for p in observer.timeline.patterns.values()}
    mine = [s for s in observer.timeline.spans if patterns[s.pattern].model == root.record.id]
    training = [s for s in mine if s.kind == "training"]
    first = min((s.first_step for s in training), default=0)
    sizes = Counter(b.samples for b in observer.kept.batches.get(root.record.id, ()))
    return {
        "steps": sum(s.steps for s in training),
        "samples": sizes.most_common(1)[0][0] if sizes else 0,
        "evaluations": sum(
            s.forwards
            for s in mine
            if s.kind == "inference" and not patterns[s.pattern].training and s.last_step > first
        ),
    }

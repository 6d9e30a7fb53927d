# pyright: basic
"""The probes that a run answers at its own end: every trained model that is still alive, on its kept batches."""

from __future__ import annotations

import math
from time import perf_counter

import numpy as np
import torch
from msgspec import structs
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.errors import NormscopeError
from normscope.probes import averages, gap, own_layers, replays, roles, stand_ins
from normscope.probes.clock import now
from normscope.probes.recent import recent
from normscope.record.torch.batches import Kept
from normscope.record.torch.norms import norms_in
from normscope.record.torch.observer import Observer
from normscope.record.torch.roots import Root

LEAST, MOST = 2.0, 30.0  # seconds
SHARE = 5  # of the loop's time, in budgets: 5 % by default
REPLAYS = 0.3  # of a model's seconds at least; more where the gap left some


def ask(observer: Observer) -> None:
    """Run the probes and keep their answers. What cannot be probed is told, not hidden."""
    began, start = perf_counter(), now()
    seconds = min(MOST, max(LEAST, SHARE * observer.schedule.budget * observer.schedule.loop))
    roots = [
        r
        for r in observer.registry.roots
        if (r.record.parameters_changed or averages.is_average(observer, r))
        and (r.own or any(x.record.kind == "batch" for x in r.layers))
    ]
    for i, root in enumerate(roots):
        # What earlier models left over is the later ones', but none is left without any.
        left = seconds - (now() - start)
        granted = max(left / (len(roots) - i), 0.5 * seconds / len(roots))
        reason = _ask(observer, root, granted)
        if reason and root.record.optimized:
            observer.event(
                "not-probed", model=root.record.id, detail=f"{root.record.name}: {reason}"
            )
    observer.probing = perf_counter() - began


def _ask(observer: Observer, root: Root, seconds: float) -> str | None:
    """Probe one model; the reason when it cannot be done."""
    model, batches = root.module, averages.batches(observer, root)
    number = root.record.id
    if model is None:
        return "it was gone when the script ended"
    if root.swapped:
        return "it ran with parameters that were lent to it for each call"
    if (maker := _maker_of_inputs(observer, root)) is not None:
        return f"what it was given came from {maker}, which has changed since"
    if number in observer.kept.refused:
        return f"its inputs could not be kept: {observer.kept.refused[number]}"
    known = [(m, x.record) for x in root.layers if isinstance(m := x.module, _BatchNorm)]
    frozen = averages.frozen(observer, root)
    # A layer that two models share is told by its place in the one that is asked.
    here = {m: path for path, m, _ in norms_in(model)}
    layers = gap.Layers(
        {m: r.id for m, r in known},
        {m: here.get(m, r.path) for m, r in known},
        {m for m, r in known if r.id in frozen},
    )
    began = now()
    if _own(observer, root, model, batches, seconds):
        missed = None
    elif not any(x.record.kind == "batch" for x in root.layers):
        return None
    else:
        missed = _gap(observer, root, model, batches, layers, seconds)
    _stand_in(observer, root, model, batches, layers, 0.5 * seconds)
    left = max(REPLAYS * seconds, seconds - (now() - began))
    # What the gap probe refused for its own reasons may still be replayed.
    failed = _replays(observer, root, model, batches, layers, left)
    return missed or failed


def _own(
    observer: Observer, root: Root, model: nn.Module, batches: list[Kept], seconds: float
) -> bool:
    """Whether layers of the user's own keep statistics and were asked in place of the gap probe."""
    try:
        return own_layers.ask(observer, root, model, batches, seconds)
    except Exception as error:  # noqa: BLE001
        detail = (
            f"{root.record.name}: asking its own statistics raised {type(error).__name__}: {error}"
        )
        observer.event("not-probed", model=root.record.id, detail=detail)
        return False


def _gap(
    observer: Observer,
    root: Root,
    model: nn.Module,
    batches: list[Kept],
    layers: gap.Layers,
    seconds: float,
) -> str | None:
    try:
        answer = gap.measure(
            model,
            recent(batches),
            layers,
            model_id=root.record.id,
            name=root.record.name,
            seconds=seconds,
        )
    except NormscopeError as reason:
        return str(reason)
    except Exception as error:  # noqa: BLE001
        return f"asking it raised {type(error).__name__}: {error}"
    used = roles.relied_on(observer, root)
    observer.store.put_measurement("gap", structs.replace(answer.gap, relied_on=used))
    _keep_population(observer, root, answer)
    return None


def _stand_in(
    observer: Observer,
    root: Root,
    model: nn.Module,
    batches: list[Kept],
    layers: gap.Layers,
    seconds: float,
) -> None:
    """Ask what the latest evaluation ran on, where that were not the trained weights."""
    state = observer.stand_ins.of(root)
    observer.store.put("model", root.record.id, root.record)
    if state is None:
        return
    try:
        answer = stand_ins.measure(
            model,
            state,
            batches,
            layers,
            model_id=root.record.id,
            name=root.record.name,
            seconds=seconds,
        )
    except NormscopeError as reason:
        refused = str(reason)
    except Exception as error:  # noqa: BLE001
        refused = f"asking what it was evaluated with raised {type(error).__name__}: {error}"
    else:
        observer.store.put_measurement("stand_in", answer.gap)
        return
    observer.event("not-probed", model=root.record.id, detail=f"{root.record.name}: {refused}")


def _replays(
    observer: Observer,
    root: Root,
    model: nn.Module,
    batches: list[Kept],
    layers: gap.Layers,
    seconds: float,
) -> str | None:
    subject = replays.Subject(root.record.id, root.record.name, layers.ids, layers.paths)
    try:
        answers = replays.measure(model, batches, subject, seconds=seconds)
    except NormscopeError as reason:
        return str(reason)
    except Exception as error:  # noqa: BLE001
        return f"replaying it raised {type(error).__name__}: {error}"
    for name, answer in answers.items():
        observer.store.put_measurement(name, answer)
    return None


def _maker_of_inputs(observer: Observer, root: Root) -> str | None:
    """The trained model whose outputs this one reads: inputs kept earlier are not what it would be given now."""
    for other in observer.registry.roots:
        if root.record.id in other.record.feeds and other.record.parameters_changed:
            return other.record.name
    return None


def _keep_population(observer: Observer, root: Root, answer: gap.Answer) -> None:
    for layer in root.layers:
        measured = answer.population.get(layer.record.id)
        stored = layer.buffers()
        if measured is not None and stored is not None:
            rows = [*stored, *measured]
            table = np.stack([torch.as_tensor(t).double().cpu().numpy().reshape(-1) for t in rows])
            if np.isfinite(table[2:]).all() and not math.isnan(float(table[2:].sum())):
                observer.store.put_channels(layer.record.id, table)

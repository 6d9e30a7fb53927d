# pyright: basic
"""The probes that a run answers at its own end: every trained Keras model that is still alive, on its kept batches."""

from __future__ import annotations

import importlib.util

import numpy as np
from msgspec import structs

from normscope.errors import NormscopeError
from normscope.probes.clock import now
from normscope.probes.keras import graphs
from normscope.record.keras import Observer
from normscope.record.keras.layers import NormLayer
from normscope.record.keras.registry import Root

LEAST, MOST = 2.0, 30.0  # seconds
SHARE = 5  # of the loop's time, in budgets: 5 % by default
REPLAYS = 0.3  # of a model's seconds at least; more where the gap left some


def ask(observer: Observer) -> None:
    """Run the probes and keep their answers. What cannot be probed is told, not hidden."""
    began = now()
    seconds = min(MOST, max(LEAST, SHARE * observer.schedule.budget * observer.schedule.loop))
    roots = [
        r
        for r in observer.registry.roots
        if r.record.parameters_changed and any(x.record.kind == "batch" for x in r.layers)
    ]
    for i, root in enumerate(roots):
        left = seconds - (now() - began)
        reason = _ask(observer, root, max(left / (len(roots) - i), 0.5 * seconds / len(roots)))
        if reason and root.record.optimized:
            observer.event(
                "not-probed", model=root.record.id, detail=f"{root.record.name}: {reason}"
            )
    graphs.keep(observer)
    observer.probing = now() - began


def _ask(observer: Observer, root: Root, seconds: float) -> str | None:
    """Probe one model; the reason when it cannot be done."""
    if root.model is None:
        return "it was gone when the script ended"
    number = root.record.id
    if number in observer.kept.refused:
        return f"its inputs could not be kept: {observer.kept.refused[number]}"
    if importlib.util.find_spec("torch") is None:
        return "what the probe compares is computed with PyTorch, which is not installed"
    from normscope.probes import roles

    frozen = roles.frozen(observer)  # pyright: ignore[reportArgumentType]
    layers = {
        x.record.id: x
        for x in root.layers
        if x.record.kind == "batch" and x.record.id not in frozen and x.layer is not None
    }
    began = now()
    missed = _gap(observer, root, layers, seconds)
    left = max(REPLAYS * seconds, seconds - (now() - began))
    # What the gap probe refused for its own reasons may still be replayed.
    failed = _replays(observer, root, layers, left)
    return missed or failed


def _gap(
    observer: Observer, root: Root, layers: dict[int, NormLayer], seconds: float
) -> str | None:
    from normscope.probes import roles
    from normscope.probes.keras import gap

    number = root.record.id
    subject = gap.Subject(root.model, layers, observer.backend, root.told_training)
    try:
        answer, population = gap.measure(
            subject,
            observer.kept.batches.get(number, []),
            number=number,
            name=root.record.name,
            seconds=seconds,
        )
    except NormscopeError as reason:
        return str(reason)
    except Exception as error:  # noqa: BLE001
        return f"asking it raised {type(error).__name__}: {error}"
    used = roles.relied_on(observer, root)  # pyright: ignore[reportArgumentType]
    observer.store.put_measurement("gap", structs.replace(answer, relied_on=used))
    for layer in root.layers:
        measured, kept = population.get(layer.record.id), layer.read()
        if measured is not None and kept is not None:
            table = np.stack([*kept, measured.mean, measured.var]).astype(np.float64)
            if np.isfinite(table[2:]).all():
                observer.store.put_channels(layer.record.id, table)
    return None


def _replays(
    observer: Observer, root: Root, layers: dict[int, NormLayer], seconds: float
) -> str | None:
    from normscope.probes.keras import replays

    subject = replays.Subject(
        root.model,
        root.record.id,
        root.record.name,
        {k: x.layer for k, x in layers.items()},
        {k: x.record.path for k, x in layers.items()},
        observer.backend,
    )
    try:
        answers = replays.measure(
            subject, observer.kept.batches.get(root.record.id, []), seconds=seconds
        )
    except NormscopeError as reason:
        return str(reason)
    except Exception as error:  # noqa: BLE001
        return f"replaying it raised {type(error).__name__}: {error}"
    for name, answer in answers.items():
        observer.store.put_measurement(name, answer)
    return None

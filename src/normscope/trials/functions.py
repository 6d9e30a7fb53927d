# pyright: basic
"""Trials of functions, in this process, one run after the other.

Processes would need a function that can be pickled, which those of notebooks cannot, and forks of a process that has used an accelerator or
threads do not work. So seeds and arms are patches that are taken back after each run.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from normscope.errors import NormscopeError
from normscope.trials import order, outcome, seeding
from normscope.trials.answer import TrialAnswer, answer
from normscope.trials.arms import AS_IS, Arm, arms_of
from normscope.trials.comparison import check_able
from normscope.trials.metric import diverged_at, thinned
from normscope.trials.patches import Patches
from normscope.trials.random_states import random_states
from normscope.trials.results import Plan, Point, Run
from normscope.trials.settling import Armed, settle


def compare(
    train: Callable[[], Any],
    arms: str | Iterable[str],
    seeds: int | Sequence[int] = 5,
    metric: str | Callable[[Any], float] | None = None,
    *,
    higher_is_better: bool = True,
    halving: bool = False,
) -> TrialAnswer:
    """Call `train()` once per arm and seed, and compare each arm with the function as it is.

    Args:
        train: builds a model, trains it and returns what `metric` reads. It must build all that it trains: what one call leaves behind
            the next would go on with. Norm layers that were built before are left alone.
        arms: `"group,none,lr:x0.3"` or a list of such.
        seeds: how many, or which. Before each call Python, NumPy and PyTorch are seeded, and every seed that the function gives is
            moved; the random states are put back afterwards.
        metric: None: what `train` returns is the number; a name: that entry of what it returns, or else what it reports by
            `normscope.report_metric`; a function of what it returns.
        higher_is_better: False for losses.
        halving: stop hopeless arms early.

    Raises NormscopeError for arms that there are not, and where the first call gives no metric.
    """
    check_able()
    chosen = arms_of(arms if isinstance(arms, str) else ",".join(arms))
    numbers = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not numbers:
        raise NormscopeError("A trial needs at least one seed, and two for an interval.")
    name = getattr(train, "__qualname__", type(train).__name__)
    title = metric if isinstance(metric, str) else getattr(metric, "__name__", "metric")
    plan = Plan(
        target=name,
        arguments=(),
        arms=tuple(a.name for a in chosen),
        seeds=numbers,
        metric=title,
        title=title,
        higher_is_better=higher_is_better,
        digest=hashlib.sha256(name.encode()).hexdigest(),
        halving=halving,
    )
    by_name = {a.name: a for a in chosen}
    runs: dict[order.Key, Run] = {}
    dropped: dict[str, str] = {}
    for arm, seed in order.to_run(plan.arms, numbers):
        if arm in dropped:
            continue
        base = runs.get((AS_IS, seed))
        run = run_once(train, by_name[arm], seed, metric, base.steps if base else None)
        if not runs and run.status != "finished":
            raise NormscopeError(
                f"The first call, of `{name}` as it is, gave no metric: {run.reason}."
            )
        runs[arm, seed] = run
        dropped = order.dropped(plan.arms, runs, halving=halving, higher_is_better=higher_is_better)
    return answer(plan, chosen, runs, dropped)


def run_once(
    train: Callable[[], Any],
    arm: Arm,
    seed: int,
    metric: str | Callable[[Any], float] | None = None,
    steps: int | None = None,
) -> Run:
    """One call under one arm; whatever was changed for it is as before when this returns."""
    told = outcome.begin()
    run = Run(arm=arm.name, seed=seed, status="finished")
    began = time.perf_counter()
    try:
        with _armed(arm, seed, steps, told):
            returned = train()
    except outcome.NotApplicable as reason:
        return _with(run, told, began, status="not-applicable", reason=str(reason))
    except (Exception, SystemExit) as error:  # noqa: BLE001  a crash of the user's function is a result
        said = str(error).splitlines()
        reason = f"crashed: {type(error).__name__}: {said[0] if said else ''}".rstrip(": ")
        return _with(run, told, began, status="crashed", reason=reason)
    finally:
        outcome.finished()
    if told.told.reason:
        return _with(run, told, began, status="not-applicable", reason=told.told.reason)
    try:
        curve = _curve(returned, metric, told.told)
    except (TypeError, ValueError, KeyError) as error:
        return _with(run, told, began, status="no-metric", reason=str(error))
    if (step := diverged_at(curve)) is not None:
        reason = f"diverged at step {step}"
        return _with(run, told, began, status="diverged", reason=reason, curve=thinned(curve))
    return _with(run, told, began, metric=curve[-1].value, curve=thinned(curve))


def _with(run: Run, told: outcome.Outcome, began: float, **changes: Any) -> Run:
    import msgspec

    known = told.told
    return msgspec.structs.replace(
        run,
        seconds=time.perf_counter() - began,
        steps=known.steps,
        exchanged=known.exchanged,
        changed=known.changed,
        note=known.note,
        device_memory=known.device_memory,
        **changes,
    )


def _curve(returned: Any, metric: Any, told: outcome.Told) -> list[Point]:
    """Raises ValueError or TypeError where there is no number."""
    if callable(metric):
        return [Point(1, float(cast(Any, metric(returned))))]
    if metric is None:
        return [Point(1, float(returned))]
    if isinstance(returned, Mapping) and metric in returned:
        return [Point(1, float(returned[metric]))]
    if series := told.metrics.get(metric):
        return [Point(step, value) for step, value in series]
    raise ValueError(
        f"the function returned no mapping with `{metric}`, and reported none by `normscope.report_metric`"
    )


@contextmanager
def _armed(arm: Arm, seed: int, steps: int | None, told: outcome.Outcome) -> Iterator[None]:
    offset = seeding.offset_of(seed)
    patches = Patches()
    torch, keras = _frameworks()
    with random_states(torch, keras):
        try:
            seeding.of_python(offset, patches)
            if (numpy := sys.modules.get("numpy")) is not None:
                seeding.of_numpy(numpy, offset, patches)
            armed = list(_in_force(torch, keras, offset, arm, steps, told, patches))
            yield
            settle(arm.kind, armed, told.told)
        finally:
            patches.undo()


def _frameworks() -> tuple[Any, Any]:
    """PyTorch and Keras, or None for what is not there. Keras may compute with something else: then PyTorch is not imported for it."""
    keras = sys.modules.get("keras")
    elsewhere = keras is not None and keras.backend.backend() != "torch"
    torch = sys.modules.get("torch")
    if torch is None and not elsewhere and importlib.util.find_spec("torch") is not None:
        torch = importlib.import_module("torch")
    return torch, keras


def _in_force(
    torch: Any,
    keras: Any,
    offset: int,
    arm: Arm,
    steps: int | None,
    told: outcome.Outcome,
    patches: Patches,
) -> Iterator[Armed]:
    if torch is not None:
        from normscope.trials.torch import arming

        torch.manual_seed(0)
        seeding.of_torch(torch, offset, patches)
        yield arming.Armed(arm.kind, arm.value, steps, told, patches, spare=True)
    if keras is not None:
        from normscope.trials.keras import arming as of_keras

        seeding.of_keras(offset, patches)
        yield of_keras.Armed(arm.kind, arm.value, steps, told, patches, spare=True)

# pyright: basic
"""An arm set up in the process of the script, and whether it took hold by the end."""

from __future__ import annotations

import atexit
import gc
from typing import Any

import torch
from normscope.trials.outcome import Outcome
from normscope.trials.torch import exchanging
from normscope.trials.torch.becoming import become
from normscope.trials.torch.exchanging import Exchange, maker
from normscope.trials.torch.loaders import Loaders
from normscope.trials.torch.optimizers import Factor, Steps, before_build
from torch.nn.modules.batchnorm import _BatchNorm

EXCHANGES = ("group", "layer", "instance", "renorm", "ghost", "none")
WITHOUT_BATCH = ("group", "layer", "instance")  # no function of theirs is batch norm's
FACTORS = {"lr": "lr", "wd": "weight_decay"}


def arm(kind: str, value: float | None, steps: int | None, run: Outcome) -> None:
    """Set it up; at the end the outcome has the steps counted, and a reason where the arm found nothing to change."""
    if kind == "frozen-tail":
        counter = _frozen_tail(value or 0.2, steps, run)
    else:
        counter = Steps()
        counter.install()
    missing = _set_up(kind, value, steps, run)

    def ended() -> None:
        run.told.steps = counter.count
        if (reason := missing()) and not run.told.reason:
            run.told.reason = reason

    atexit.register(ended)  # before the outcome is written, which was registered earlier


def _set_up(kind: str, value: float | None, steps: int | None, run: Outcome) -> Any:
    """The function that tells at the end why the arm changed nothing; empty where it did."""
    if kind in EXCHANGES:
        return _exchange(kind, value, steps, run)
    if kind == "momentum":
        return _momentum(value, run)
    if kind in FACTORS:
        return _factor(FACTORS[kind], value or 0.0, run)
    if kind in ("batch", "drop-last"):
        return _loaders(kind, value, run)
    return lambda: ""


def _exchange(kind: str, value: float | None, steps: int | None, run: Outcome) -> Any:
    exchange = Exchange(maker(kind, value, steps))
    exchange.install()
    before_build(exchange.all)
    if kind in WITHOUT_BATCH:
        _refuse_functions()

    def missing() -> str:
        run.told.exchanged = exchange.count
        return "" if exchange.count else "the script ran no batch norm module"

    return missing


def _refuse_functions() -> None:
    """Where no batch norm is left, nothing may call its function: a functional norm cannot be exchanged."""
    function = torch.nn.functional.batch_norm

    def called(*args: Any, **kwargs: Any) -> Any:
        exchanging.refuse("batch norm is called as a function, which no layer can replace")
        return function(*args, **kwargs)

    torch.nn.functional.batch_norm = called


def _momentum(value: float | None, run: Outcome) -> Any:
    def same(norm: _BatchNorm) -> None:
        norm.momentum = value

    setter = exchanging.Touch(same)
    setter.install()
    before_build(setter.all)

    def missing() -> str:
        run.told.changed = setter.count
        return "" if setter.count else "the script ran no batch norm module"

    return missing


def _factor(entry: str, factor: float, run: Outcome) -> Any:
    scaled = Factor(entry, factor)
    scaled.install()

    def missing() -> str:
        run.told.changed = scaled.changed
        if scaled.changed:
            return ""
        return f"no optimizer of PyTorch stepped with a `{entry}` other than 0"

    return missing


def _loaders(kind: str, value: float | None, run: Outcome) -> Any:
    loaders = Loaders(batch_size=int(value) if value else None, drop_last=kind == "drop-last")
    loaders.install()

    def missing() -> str:
        run.told.changed = loaders.changed
        return (
            ""
            if loaders.changed
            else "no shuffled DataLoader was built: the loop makes its batches by itself"
        )

    return missing


def _frozen_tail(share: float, steps: int | None, run: Outcome) -> Steps:
    """Statistics fixed from the step on that begins the last share of the unchanged run."""

    def freeze() -> None:
        for thing in gc.get_objects():
            if issubclass(type(thing), _BatchNorm) and thing.running_mean is not None:
                become(thing, exchanging.kept(thing, exchanging.frozen(thing)))
                run.told.exchanged += 1

    if not steps:
        run.give_up(
            "the unchanged run of this seed counted no step of an optimizer, so its last share is not known"
        )
    counter = Steps(int((1 - share) * steps), freeze)
    counter.install()

    def check() -> None:
        if not run.told.exchanged and not run.told.reason:
            run.told.reason = (
                "the script held no batch norm module when its last share of steps began"
            )

    atexit.register(check)
    return counter

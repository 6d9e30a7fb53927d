"""What is known of each run of a trial, and of the trial. Imports no framework."""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["finished", "crashed", "diverged", "not-applicable", "no-metric", "stopped"]


class Point(msgspec.Struct, frozen=True):
    """A value of the metric: the how-manieth it was, or the step that the script gave with it."""

    step: int
    value: float


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the script under one arm with one seed.

    `metric` is the last value of the metric, `curve` all of them; `loss` the training losses at some steps where the observer of the
    arm saw them. `seconds` of wall time, `memory` the largest resident set in bytes. `reason` tells in a sentence why there is no metric.
    """

    arm: str
    seed: int
    status: Status
    metric: float | None = None
    curve: tuple[Point, ...] = ()
    seconds: float = 0.0
    memory: int = 0
    steps: int = 0
    exchanged: int = 0  # norm layers that the arm exchanged
    drew: str = ""  # which arm `random` stood for
    reason: str = ""
    log: str = ""  # the end of what the script printed, where it did not finish


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What makes two trials the same: then finished runs are not repeated.

    `digest` is that of the script's bytes, its arguments and the metric's definition.
    """

    target: str
    arguments: tuple[str, ...]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    metric: str
    higher_is_better: bool
    digest: str

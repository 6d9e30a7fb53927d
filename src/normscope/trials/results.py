"""What is known of each run of a trial, and of the trial. Imports no framework."""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["finished", "crashed", "diverged", "not-applicable", "no-metric"]


class Point(msgspec.Struct, frozen=True):
    """A value of the metric: the how-manieth it was, or the step that the script gave with it."""

    step: int
    value: float | None  # None in a file: a number that JSON has no word for


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the script under one arm with one seed.

    `metric` is the last value of the metric, `curve` all of them. `seconds` of wall time, `memory` the largest resident set in
    bytes, `device_memory` the most that was allocated on an accelerator. `reason` tells in a sentence why there is no metric.
    """

    arm: str
    seed: int
    status: Status
    metric: float | None = None
    curve: tuple[Point, ...] = ()
    seconds: float = 0.0
    memory: int = 0
    device_memory: int = 0
    steps: int = 0
    exchanged: int = 0  # norm layers that the arm exchanged
    changed: int = 0  # optimizer groups, loaders or layers that it changed otherwise
    reason: str = ""
    note: str = ""  # what a reader has to know of what the arm did
    written: tuple[str, ...] = ()  # files that the run changed or made
    sources: dict[str, str] = {}  # digests of the user's modules, by file


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. Runs of plans with one `digest` are the same runs, and are not repeated.

    `digest` is that of the script's bytes, its arguments and the metric. `halving`: hopeless arms are stopped early.
    """

    target: str
    arguments: tuple[str, ...]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    metric: str
    title: str
    higher_is_better: bool
    digest: str
    halving: bool = False

"""The answers of probes that are asked of a setup: plain values that the store keeps and rules read. Imports no framework."""

from __future__ import annotations

import msgspec


class Estimate(msgspec.Struct, frozen=True):
    """A number with its standard error and a 95 % interval, where the data allow one."""

    value: float
    noise: float = 0.0
    low: float | None = None
    high: float | None = None


class Change(msgspec.Struct, frozen=True):
    """The same samples judged twice: means `before` and `after`, and `rise` = after − before, paired by sample."""

    before: float
    after: float
    rise: Estimate

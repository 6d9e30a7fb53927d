"""What a reader with ten minutes takes from the lab: when to use batch normalization, when not, and what instead."""

from __future__ import annotations

from collections.abc import Mapping

from normscope.lab.claim import Judgement


def ten_minutes(verdicts: Mapping[str, Judgement]) -> str:
    return "TODO" + str(len(verdicts))

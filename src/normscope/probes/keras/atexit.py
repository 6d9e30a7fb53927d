# pyright: basic
"""The probes that a run answers at its own end."""

from __future__ import annotations

from normscope.record.keras import Observer


def ask(observer: Observer) -> None:
    del observer

"""A doctor for the normalization layers of deep networks."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as `typing` has it, without importing that
if TYPE_CHECKING:
    from normscope import nn
    from normscope.checking import check, compare_ports
    from normscope.comparison import compare
    from normscope.diagnosis import diagnose
    from normscope.finding import Finding
    from normscope.graph.model import Graph
    from normscope.live import watch
    from normscope.probes.setup import Setup
    from normscope.probing import probe
    from normscope.record.recording import Recording
    from normscope.repairs.dispatching import recalibrate

__version__ = "0.1.0"

__all__ = [
    "Finding",
    "Graph",
    "Recording",
    "Setup",
    "check",
    "compare",
    "compare_ports",
    "diagnose",
    "nn",
    "probe",
    "recalibrate",
    "report_metric",
    "watch",
]

_HOMES = {
    "Finding": "normscope.finding",
    "Graph": "normscope.graph.model",
    "Recording": "normscope.record.recording",
    "Setup": "normscope.probes.setup",
    "check": "normscope.checking",
    "compare": "normscope.comparison",
    "compare_ports": "normscope.checking",
    "diagnose": "normscope.diagnosis",
    "recalibrate": "normscope.repairs.dispatching",
    "probe": "normscope.probing",
    "watch": "normscope.live",
}


def __getattr__(name: str) -> object:
    # Lazy: `normscope --help` needs none of them, and a script's start should not pay for what it does not use.
    if name == "nn":
        import importlib

        return importlib.import_module("normscope.nn")
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module `normscope` has no attribute `{name}`")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "nn"})


def report_metric(name: str, value: float, step: int | None = None) -> None:
    """Tell the recording a number that the script computed, such as an accuracy; nothing outside an observed run.

    Args:
        name: what it is; equal names form one series.
        value: the number, in whatever unit the name implies.
        step: when; the current step of training by default.
    """
    # Outside an observed run and a trial nobody was imported who could be told.
    trial = sys.modules.get("normscope.trials.outcome")
    run = trial.current() if trial is not None and hasattr(trial, "current") else None
    if run is not None:
        run.metric(name, float(value), step)
    for framework in ("torch", "keras"):  # of the two, one has let the other go on alone
        observer = sys.modules.get(f"normscope.record.{framework}")
        active = observer.active() if observer is not None and hasattr(observer, "active") else None
        if active is not None:
            active.metric(name, float(value), step)
            return

"""`compare-ports`: two models of one architecture, compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from normscope.cli.diagnosing import at_bar, of_diagnosis, publish
from normscope.cli.outputs import outputs_of
from normscope.config import Config
from normscope.errors import NormscopeError

NAMES = ("torch", "keras")


def compare_ports(target: str, config: Config) -> int:
    """Compare the models that a setup returns; 1 when a finding is at or above the bar."""
    from normscope.checking import compare_ports as compared
    from normscope.checking.target import build

    outputs = outputs_of(config, to_stdout=True)
    diagnosis = compared(*models_of(build(target), target))
    diagnosis.recording.target = target
    publish(of_diagnosis(diagnosis), outputs, to_stderr=False)
    return int(at_bar(diagnosis.findings, config.fail_on or "error"))


def models_of(made: Any, target: str) -> tuple[Any, Any]:
    """The model of PyTorch and that of Keras. Raises NormscopeError for anything but a mapping of both or a pair."""
    if isinstance(made, Mapping):
        given = cast("Mapping[str, Any]", made)
        if all(name in given for name in NAMES):
            return given["torch"], given["keras"]
        told = f"a dict with {', '.join(f'`{name}`' for name in given) or 'nothing'}"
    elif isinstance(made, tuple | list):
        pair = cast("list[Any]", made)
        if len(pair) == len(NAMES):
            return pair[0], pair[1]
        told = f"{len(pair)} values"
    else:
        told = f"a {type(made).__name__}"
    raise NormscopeError(
        f"`{target}` gives {told}, but a dict with the models `torch` and `keras`, or a pair of them in this order, was expected."
    )

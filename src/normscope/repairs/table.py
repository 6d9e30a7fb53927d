"""The repairs that `normscope repair` knows, by name. Imports no framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from normscope.repairs.certificate import Certificate

Progress = Callable[[int], None]


class Apply(Protocol):
    """Repairs what the user's `setup` gives: the repaired model, with the certificate."""

    def __call__(
        self, made: object, target: str, *, progress: Progress, **options: Any
    ) -> tuple[Any, Certificate]: ...


@dataclass(frozen=True, slots=True)
class Repair:
    """`options` are the command-line options that it understands, as Python names."""

    summary: str
    kind: Literal["exact", "changes-function"]
    apply: Apply
    options: tuple[str, ...] = ()


def _recalibrate(
    made: object, target: str, *, progress: Progress, **options: Any
) -> tuple[Any, Certificate]:
    from normscope.probes.setup import setup_of
    from normscope.repairs.recalibration import recalibrate

    setup = setup_of(made, f"`{target}`")
    if "samples" in options:
        options["samples"] = options["samples"] or None  # 0: the whole loader
    certificate = recalibrate(
        setup.model,
        setup.train,
        forward=setup.forward,
        loss=setup.loss,
        target=setup.target,
        progress=progress,
        **options,
    )
    return setup.model, certificate


REPAIRS: Mapping[str, Repair] = {
    "recalibrate": Repair(
        "Recompute the running statistics of batch norms from training data.",
        "changes-function",
        _recalibrate,
        ("samples", "exact", "keep", "layers", "frozen"),
    ),
}

"""The repairs that `normscope repair` knows, by name. Imports no framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from normscope.repairs.certificate import Certificate
from normscope.repairs.dispatching import of_keras

Progress = Callable[[int], None]


class Apply(Protocol):
    """Repairs what the user's `setup` gives: the repaired model, with the certificate."""

    def __call__(
        self, made: object, target: str, *, progress: Progress, **options: Any
    ) -> tuple[Any, Certificate]: ...


@dataclass(frozen=True, slots=True)
class Repair:
    """`options` are the command-line options that it understands, as Python names; `rules` the codes of the findings that it mends."""

    summary: str
    kind: Literal["exact", "changes-function"]
    apply: Apply
    options: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    keras: bool = False  # whether models of Keras have it, too


def _recalibrate(
    made: object, target: str, *, progress: Progress, **options: Any
) -> tuple[Any, Certificate]:
    if of_keras(made):
        from normscope.repairs.keras.setups import recalibrated

        return recalibrated(made, target, progress=progress, **options)
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


def _rebuilding(name: str) -> Apply:
    """A repair that changes layers: it looks at one batch, so there is no progress to tell."""

    def apply(
        made: object, target: str, *, progress: Progress, **options: Any
    ) -> tuple[Any, Certificate]:
        if of_keras(made):
            from normscope.repairs.keras.setups import repaired

            return repaired(name, made, target, options)
        from normscope.repairs.rebuilding import rebuild

        del progress
        return rebuild(name, made, target, options)

    return apply


def _conversion(
    to: str, summary: str, *options: str, rules: tuple[str, ...] = ()
) -> tuple[str, Repair]:
    name = f"convert-{to}"
    chosen = ("layers", "calibrated", *options)
    keras = to in ("group", "layer", "instance", "renorm")
    return name, Repair(summary, "changes-function", _rebuilding(name), chosen, rules, keras)


REPAIRS: Mapping[str, Repair] = {
    "recalibrate": Repair(
        "Recompute the running statistics of batch norms from training data.",
        "changes-function",
        _recalibrate,
        ("samples", "exact", "keep", "layers", "frozen"),
        ("NS202", "NS405", "NS408", "NS409", "NS410"),
        keras=True,
    ),
    "fold-redundant-bias": Repair(
        "Remove biases that a batch norm cancels, into its running mean.",
        "exact",
        _rebuilding("fold-redundant-bias"),
        rules=("NS101",),
        keras=True,
    ),
    "fold-batchnorm": Repair(
        "Put batch norms into the layers before them, for evaluation.",
        "exact",
        _rebuilding("fold-batchnorm"),
        keras=True,
    ),
    "set-momentum": Repair(
        "Set the momentum of batch norms, or keep its window when the batch changes.",
        "exact",
        _rebuilding("set-momentum"),
        ("momentum", "batch_factor"),
        ("NS201", "NS202", "NS705"),
        keras=True,
    ),
    "freeze-batchnorm": Repair(
        "Fix the running statistics of batch norms, in training too.",
        "changes-function",
        _rebuilding("freeze-batchnorm"),
        ("layers", "fixed_affine"),
        ("NS403",),
        keras=True,
    ),
    **dict(
        (
            _conversion(
                "group",
                "Exchange batch norm for group norm.",
                "groups",
                rules=("NS301", "NS303", "NS603", "NS606"),
            ),
            _conversion(
                "layer",
                "Exchange batch norm for layer norm with a scale per channel.",
                rules=("NS106", "NS606"),
            ),
            _conversion("instance", "Exchange batch norm for instance norm.", rules=("NS606",)),
            _conversion(
                "renorm", "Exchange batch norm for batch renormalization.", rules=("NS301",)
            ),
            _conversion("ghost", "Exchange batch norm for ghost batch norm.", "ghost_size"),
            _conversion("sync", "Exchange batch norm for one synchronized over ranks."),
            _conversion(
                "domain",
                "Exchange batch norm for one per domain.",
                "domains",
                rules=("NS107", "NS305"),
            ),
        )
    ),
    "remove-batchnorm": Repair(
        "Take batch norm out: folded into the weights, with a learned scale at the end of residual branches.",
        "changes-function",
        _rebuilding("remove-batchnorm"),
        rules=("NS606",),
        keras=True,
    ),
    "move-before-addition": Repair(
        "Move batch norms from behind a residual addition to the end of the branch.",
        "changes-function",
        _rebuilding("move-before-addition"),
        rules=("NS103",),
    ),
    "reset-gamma": Repair(
        "Set the scale of norm layers to 1.",
        "changes-function",
        _rebuilding("reset-gamma"),
        ("layers",),
        ("NS203", "NS204"),
    ),
}


def repairs_for(code: str) -> tuple[str, ...]:
    """The names of the repairs that mend what a rule finds."""
    return tuple(name for name, repair in REPAIRS.items() if code in repair.rules)

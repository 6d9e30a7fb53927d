"""What a repair did, and the difference that it made, measured. Imports no framework."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, cast

import msgspec

SHOWN = 5  # layers in the text; all of them are in the JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerChange:
    """One norm layer's running statistics before the repair, against those after it.

    `mean_shift` is the rms over channels of |before − after| / sd after, `log_sd` the rms of
    ln(sd before / sd after); None where what stood there before was not a number. `values` are the values per
    channel behind the new statistics, `calls` the calls of the layer that brought them.
    """

    path: str
    channels: int
    values: int
    calls: int
    mean_shift: float | None
    log_sd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftAlone:
    """A layer that the repair did not touch, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far the model's outputs before and after the repair are apart: rms, in standard deviations of the output.

    `mode` `train` is with batch statistics, `eval` with running ones, dropout off in both; None where the model gives
    no floating output, or none that is a number.
    """

    mode: Literal["train", "eval"]
    distance: float | None
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The loss before and after, in `unit`, on other batches than those that the judged statistics came from.

    `gain` = before − after, paired by sample, with its standard error `noise`; above 0 the repair is an improvement.
    `train` is the loss with batch statistics. The errors are shares of wrong decisions, where there are classes.
    """

    unit: str
    before: float
    after: float
    train: float
    gain: float
    noise: float
    error_before: float | None = None
    error_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a repair did to a model. `kept` False: it was measured and taken back, the model is as it was before."""

    repair: str
    kind: Literal["exact", "changes-function"]
    model: str
    done: str
    kept: bool = True
    samples: int = 0
    batches: int = 0
    passes: int = 1
    ranks: int = 1
    layers: tuple[LayerChange, ...] = ()
    left: tuple[LeftAlone, ...] = ()
    differences: tuple[Difference, ...] = ()
    score: Score | None = None
    parameters: str = ""  # what there is to learn and to keep, before and after
    cost: str = ""  # time and memory of the repaired model beside the old one
    checkpoints: str = ""  # what becomes of state dicts from before the repair
    warnings: tuple[str, ...] = ()

    def json(self) -> bytes:
        """All of it, indented; what is not a number is null."""
        return msgspec.json.format(
            msgspec.json.encode(_finite(msgspec.to_builtins(self))), indent=2
        )

    def text(self) -> str:
        """A page for the terminal: the layers that moved most, and everything else."""
        lines = [f"{self.repair}: {self.done}"]
        if not self.kept:
            lines.append("  taken back: not better beyond the noise; the model is as it was before")
        if (s := self.score) is not None:
            lines.append(
                f"  loss         {s.before:.4g} before, {s.after:.4g} after ({s.train:.4g} with batch statistics): "
                f"gain {s.gain:.2g} ± {s.noise:.1g} {s.unit}"
            )
            if s.error_before is not None and s.error_after is not None:
                lines.append(
                    f"  errors       {s.error_before:.1%} before, {s.error_after:.1%} after"
                )
        lines += [f"  {d.mode + ' mode':<11}  {_moved(d)}" for d in self.differences]
        lines += [f"  {_shift(x)}" for x in self._most_moved()]
        if len(self.layers) > SHOWN:
            lines.append(f"  and {len(self.layers) - SHOWN} more")
        lines += [f"  left alone   {x.path}: {x.reason}" for x in self.left]
        for name in ("parameters", "cost", "checkpoints"):
            if text := getattr(self, name):
                lines.append(f"  {name:<11}  {text}")
        lines += [f"  note         {w}" for w in self.warnings]
        return "\n".join(lines) + "\n"

    def _most_moved(self) -> list[LayerChange]:
        return sorted(self.layers, key=lambda x: -_size(x))[:SHOWN]


def _size(x: LayerChange) -> float:
    return math.inf if x.mean_shift is None or x.log_sd is None else max(x.mean_shift, x.log_sd)


def _moved(d: Difference) -> str:
    if d.distance is None:
        return "outputs that cannot be compared"
    if d.distance == 0:
        return f"outputs are the same, bit for bit ({d.samples} samples)"
    return f"outputs moved by {d.distance:.2g} standard deviations ({d.samples} samples)"


def _shift(x: LayerChange) -> str:
    if x.mean_shift is None or x.log_sd is None:
        return f"{x.path}: its statistics were not numbers"
    return f"{x.path}: mean was off by {x.mean_shift:.2g} sd, sd by a factor of {math.exp(x.log_sd):.3g}"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        return {k: _finite(v) for k, v in entries.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in cast("list[Any]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value

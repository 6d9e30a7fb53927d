"""The arms of a trial: what each changes, and how it is written on the command line. Imports no framework."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from normscope.errors import NormscopeError, did_you_mean

AS_IS = "as-is"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of arm. `value` names what stands behind the colon; empty where nothing may. `default` 0: what the layer suggests."""

    name: str
    what: str
    value: str = ""
    example: str = ""
    default: float | None = None


KINDS: Mapping[str, Kind] = {
    k.name: k
    for k in (
        Kind(AS_IS, "the script unchanged: what all others are compared with"),
        Kind("group", "batch norm becomes group norm", "groups", "group:16", 0),
        Kind("layer", "batch norm becomes layer norm with a scale per channel"),
        Kind("instance", "batch norm becomes instance norm"),
        Kind("renorm", "batch norm becomes batch renormalization"),
        Kind("ghost", "batch norm with the statistics of so many samples", "samples", "ghost:32", 32),
        Kind("frozen-tail", "statistics fixed for the last share of the steps", "share", "frozen-tail:0.2", 0.2),
        Kind("none", "no normalization: fixed maps that begin as the first batch has it"),
        Kind("momentum", "another momentum, in PyTorch's sense; in a Keras script in Keras'", "momentum", "momentum:0.01"),
        Kind("batch", "another batch size in shuffled DataLoaders", "samples", "batch:64"),
        Kind("drop-last", "shuffled DataLoaders leave out an incomplete batch"),
        Kind("lr", "every learning rate times a factor", "×factor", "lr:x0.3"),
        Kind("wd", "every weight decay times a factor", "×factor", "wd:x0"),
        Kind("random", "one of the other arms by chance, a different one for each seed: the baseline of repairs"),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Arm:
    """`value` is the number behind the colon, or the kind's default."""

    kind: str
    value: float | None = None

    @property
    def name(self) -> str:
        """As it is written: `ghost:32`, `lr:x0.3`."""
        kind = KINDS[self.kind]
        if self.value is None or self.value == kind.default:
            return self.kind
        return f"{self.kind}:{'x' if kind.value.startswith('×') else ''}{self.value:g}"


def arms_of(text: str) -> tuple[Arm, ...]:
    """The arms of a comma-separated list, `as-is` first and always among them, each once.

    Raises NormscopeError for an unknown kind, a missing or superfluous value, and one out of range.
    """
    found = dict.fromkeys([Arm(AS_IS), *(_arm(part) for part in _parts(text))])
    if len(found) < 2:
        raise NormscopeError(
            f"A trial needs something to compare: `--arms group,momentum:0.01`. Arms: {', '.join(KINDS)}."
        )
    return tuple(found)


def _parts(text: str) -> Iterable[str]:
    return (p for part in text.split(",") if (p := part.strip()))


def _arm(text: str) -> Arm:
    name, colon, given = text.partition(":")
    kind = KINDS.get(name)
    if kind is None:
        raise NormscopeError(
            f"There is no arm `{name}`.{did_you_mean(name, KINDS)} Arms: {', '.join(KINDS)}."
        )
    if not colon:
        if kind.value and kind.default is None:
            raise NormscopeError(f"The arm `{name}` needs a value, as in `{kind.example}`.")
        return Arm(name, kind.default)
    if not kind.value:
        raise NormscopeError(f"The arm `{name}` takes no value; got `{text}`.")
    number = re.fullmatch(r"[x×]?([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)", given)
    if number is None:
        raise NormscopeError(
            f"`{text}` was given, but a number was expected, as in `{kind.example}`."
        )
    value = float(number[1])
    if not _fits(name, value):
        raise NormscopeError(f"`{text}` was given, but {RANGES[name]} was expected.")
    return Arm(name, value)


RANGES: Mapping[str, str] = {
    "group": "a whole number of groups of at least 1",
    "ghost": "a whole number of samples of at least 2",
    "frozen-tail": "a share between 0 and 1",
    "momentum": "a momentum above 0 and at most 1",
    "batch": "a whole number of samples of at least 1",
    "lr": "a factor above 0",
    "wd": "a factor of at least 0",
}


def _fits(name: str, value: float) -> bool:
    whole = value.is_integer()
    return (
        value < float("inf")
        and {
            "group": whole and value >= 1,
            "ghost": whole and value >= 2,
            "frozen-tail": 0 < value < 1,
            "momentum": 0 < value <= 1,
            "batch": whole and value >= 1,
            "lr": value > 0,
            "wd": value >= 0,
        }[name]
    )


def drawn(arms: Iterable[Arm], seed: int) -> Arm:
    """The arm that `random` stands for at this seed: the k-th seed takes the k-th of them, so that none is preferred."""
    others = [a for a in arms if a.kind not in (AS_IS, "random")]
    if not others:
        raise NormscopeError("The arm `random` needs other arms to choose from.")
    return others[(7 * seed + 3) % len(others)]

"""A rule is a value: metadata around a generator function that asks for evidence by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from normscope.finding import Finding, Severity

SECTIONS = (
    "What it checks",
    "Why it matters",
    "Example",
    "Repair",
    "Known limits",
    "References",
)


class Check(Protocol):
    """A generator function whose parameter names ask for evidence (see `normscope.evidence`)."""

    __name__: str

    def __call__(self, *args: Any, **kwargs: Any) -> Iterator[Finding]: ...


@dataclass(frozen=True)
class Rule:
    """`severity` is the highest that the rule may give; `explains` are the codes of its symptoms.

    Those of them that are also in `at_its_layers` are its symptoms only where the layer that they name first is one of its own.

    A rule that is not to stand `alone` only names the cause of a symptom that another rule found: without one it is
    dropped, and with one it takes the symptom's severity. `static` is what the rule says where training was not
    observed: it asks for less.
    """

    code: str
    severity: Severity
    since: str
    check: Check
    explains: tuple[str, ...] = ()
    default: bool = True
    alone: bool = True
    static: Check | None = None
    at_its_layers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.check.__name__.replace("_", "-")

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """The evidence that the rule asks for: the names of its parameters."""
        return needs(self.check)

    @property
    def checks(self) -> tuple[Check, ...]:
        """The ways to judge, the best first."""
        return (self.check,) if self.static is None else (self.check, self.static)

    @cached_property
    def sections(self) -> Mapping[str, str]:
        """The docstring, split at its `##` headings; the part before the first is under `""`."""
        head, *rest = re.split(r"^## (.+)$", inspect.getdoc(self.check) or "", flags=re.MULTILINE)
        return {"": head.strip()} | {
            k: v.strip() for k, v in zip(rest[::2], rest[1::2], strict=True)
        }


def needs(check: Check) -> tuple[str, ...]:
    """The names of its parameters: the evidence that it asks for."""
    return tuple(inspect.signature(check).parameters)


def rule(
    code: str,
    *,
    severity: Severity,
    since: str,
    explains: tuple[str, ...] = (),
    default: bool = True,
    alone: bool = True,
    static: Check | None = None,
    at_its_layers: tuple[str, ...] = (),
) -> Callable[[Check], Rule]:
    """Make a rule of a check function. The function's name, with hyphens, becomes the rule's."""
    return lambda check: Rule(
        code, severity, since, check, explains, default, alone, static, at_its_layers
    )


@dataclass(frozen=True, slots=True)
class Faulty:
    """Evidence that the rule must flag, and the layers it must point at.

    `sketch` draws a graph, `story` a recording, `measured` gives probe results by evidence name; `static` tells the layers
    of a model that is only looked at, and `evaluating` draws the graph of its evaluation mode.
    """

    name: str
    at: tuple[str, ...]
    sketch: str = ""
    story: str = ""
    measured: Mapping[str, object] | None = None
    severity: Severity | None = None
    static: str = ""
    evaluating: bool = False


@dataclass(frozen=True, slots=True)
class Healthy:
    """Evidence that the rule must stay silent on; `at_most` allows findings up to that severity."""

    name: str
    sketch: str = ""
    story: str = ""
    measured: Mapping[str, object] | None = None
    at_most: Severity | None = None
    static: str = ""
    evaluating: bool = False

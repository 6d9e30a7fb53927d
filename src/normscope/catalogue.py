"""The catalogue: every rule file below `rules/`, found by itself. Adding a rule is adding a file."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from functools import cache
from types import ModuleType

import normscope.rules
from normscope.errors import NormscopeError, did_you_mean
from normscope.rule import Rule


@cache
def modules() -> Mapping[Rule, ModuleType]:
    """Rule → its file, in the order of the codes."""
    found: dict[Rule, ModuleType] = {}
    for entry in pkgutil.walk_packages(normscope.rules.__path__, "normscope.rules."):
        if not entry.ispkg:
            module = importlib.import_module(entry.name)
            found |= {v: module for v in vars(module).values() if isinstance(v, Rule)}
    return dict(sorted(found.items(), key=lambda item: item[0].code))


def rules() -> tuple[Rule, ...]:
    return tuple(modules())


def rule_of(code_or_name: str) -> Rule:
    """The rule with that code or name, in any case. Raises NormscopeError for an unknown one."""
    wanted = code_or_name.strip()
    for rule in rules():
        if wanted.upper() == rule.code or wanted.lower() == rule.name:
            return rule
    known = [w for r in rules() for w in (r.code, r.name)]
    raise NormscopeError(
        f"There is no rule `{code_or_name}`.{did_you_mean(wanted.upper(), known) or did_you_mean(wanted.lower(), known)} "
        "`normscope rules` lists them."
    )


def selection(select: Iterable[str] = (), ignore: Iterable[str] = ()) -> tuple[Rule, ...]:
    """The rules whose code begins with a selected prefix and with no ignored one.

    Without `select` every rule that is on by default. Raises NormscopeError for a prefix that no rule has.
    """
    select, ignore = tuple(select), tuple(ignore)
    for prefix in (*select, *ignore):
        if not any(r.code.startswith(prefix.upper()) for r in rules()):
            raise NormscopeError(
                f"No rule's code begins with `{prefix}`.{did_you_mean(prefix.upper(), [r.code for r in rules()])} "
                "`normscope rules` lists them."
            )
    wanted = [
        r
        for r in rules()
        if (any(r.code.startswith(p.upper()) for p in select) if select else r.default)
    ]
    return tuple(r for r in wanted if not any(r.code.startswith(p.upper()) for p in ignore))

"""What the user can mend. The command line shows one line and exits with status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NormscopeError(Exception):
    """Bad input: what was given, what was expected, what to do."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """` Did you mean NS401?` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(given, list(known), n=1, cutoff=0.5)
    return f" Did you mean `{near[0]}`?" if near else ""

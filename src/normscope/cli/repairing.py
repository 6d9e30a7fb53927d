"""`repair`: apply one, write the weights and beside them the certificate."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from normscope.cli.outputs import Output, check_writable, write
from normscope.errors import NormscopeError, did_you_mean
from normscope.repairs.dispatching import of_keras
from normscope.repairs.table import REPAIRS


def list_repairs() -> int:
    """The table of repairs, one line each."""
    width = max(map(len, REPAIRS))
    for name, repair in REPAIRS.items():
        mends = f" Mends {', '.join(repair.rules)}." if repair.rules else ""
        sys.stdout.write(f"{name:<{width}}  {repair.kind:<16}  {repair.summary}{mends}\n")
    sys.stdout.write(
        f"{'advice':<{width}}  {'source':<16}  Show what to change in the source after a run; `--write` changes it.\n"
    )
    return 0


def repair(
    name: str | None, target: str | None, output: Path | None, given: Mapping[str, Any]
) -> int:
    """Apply the repair to what the target's `setup` gives; 0 also when its result was taken back.

    `given` are the options that were given. Raises NormscopeError for what cannot be found, built, repaired or written.
    """
    known = f"Known: {', '.join(REPAIRS)}."
    if name is None:
        raise NormscopeError(f"Which repair? `normscope repair NAME file.py:setup -o out`. {known}")
    if name not in REPAIRS:
        raise NormscopeError(f"There is no repair `{name}`.{did_you_mean(name, REPAIRS)} {known}")
    if target is None:
        raise NormscopeError(
            f"What is to be repaired? `normscope repair {name} file.py:setup -o weights.safetensors`, where "
            "`setup()` returns a dict with `model` and `train`."
        )
    if output is None:
        raise NormscopeError(
            "Where shall the repaired weights go? Add `-o weights.safetensors`, or `-o weights.pt`."
        )
    chosen = REPAIRS[name]
    if strange := [option for option in given if option not in chosen.options]:
        raise NormscopeError(
            f"`{name}` has no option `{_written(strange[0])}`. It has: {', '.join(map(_written, chosen.options)) or 'none'}."
        )
    check_writable(output)
    beside = output.with_suffix(".certificate.json")
    check_writable(beside)
    from normscope.checking.target import build, user_code
    from normscope.repairs.progress import counting

    made = build(target)
    if of_keras(made):
        from normscope.repairs.keras.setups import check_suffix, save
    else:
        from normscope.repairs.saving import check_suffix, save
    check_suffix(output)
    with counting(name) as progress, user_code(f"repairing what `{target}` gives"):
        model, certificate = chosen.apply(made, target, progress=progress, **given)
    save(model, output)
    write(Output("json", beside), certificate.json() + b"\n")
    sys.stdout.write(f"{certificate.text()}  written      {output}, {beside}\n")
    return 0


def _written(option: str) -> str:
    return f"--{option.replace('_', '-')}"

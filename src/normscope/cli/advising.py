"""`repair advice`: the edits of the user's own source that a recording's findings ask for, shown, and applied with `--write`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from normscope.cli.diagnosing import diagnosis_of
from normscope.cli.outputs import Output, check_writable, write
from normscope.config import Config
from normscope.errors import NormscopeError, did_you_mean
from normscope.repairs.source.advice import Advice, plan, wanted
from normscope.repairs.source.patch import write_in_place
from normscope.repairs.source.proposals import EDITS


def advise(
    target: str | None, codes: Sequence[str], output: Path | None, config: Config, *, apply: bool
) -> int:
    """Show a diff for each finding, the root cause first; 1 when every edit that was looked for was refused.

    Raises NormscopeError for what is no recording, an unknown code, and files that cannot be written.
    """
    if target is None:
        raise NormscopeError(
            "Which run is advice wanted on? `normscope repair advice train.nscope`."
        )
    for code in codes:
        if code not in EDITS:
            raise NormscopeError(
                f"No finding of `{code}` can be mended by an edit.{did_you_mean(code, EDITS)} Known: {', '.join(EDITS)}."
            )
    if output is not None:
        check_writable(output)
    diagnosis = diagnosis_of(Path(target), config)
    findings = wanted(diagnosis.findings, codes)
    if not findings:
        sys.stdout.write(f"{target}: no finding that an edit of the source could mend.\n")
        return 0
    made = plan(diagnosis.recording, findings)
    for advice in made.advice:
        sys.stdout.write(told(advice))
    if not made.files:
        return 1
    if output is not None:
        patch = b"".join(f.diff.encode(f.encoding, "replace") for f in made.files)
        write(Output("text", output), patch)
        sys.stdout.write(f"written: {output}\n")
    if apply:
        for file in made.files:
            write_in_place(file.path, file.after)
            sys.stdout.write(f"changed: {file.name}\n")
    elif output is None:
        sys.stdout.write("Nothing is changed: add `--write` to apply it, or `--output FILE`.\n")
    return 0


def told(advice: Advice) -> str:
    """A finding in one line, as a comment above its diff, so that the whole is a patch still."""
    finding = advice.finding
    lines = [f"# {finding.code} {finding.name} ({finding.severity}): {finding.message}\n"]
    lines += [f"#   not edited: {refusal}\n" for refusal in advice.refusals]
    return "".join(lines) + advice.diff + "\n"

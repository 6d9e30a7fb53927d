"""A trial read back from its record, finished or not: nothing is run, and nothing is written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from normscope.errors import NormscopeError
from normscope.trials import order
from normscope.trials.answer import TrialAnswer, answer
from normscope.trials.arms import arms_of
from normscope.trials.results import Plan, Run
from normscope.trials.store import VERSION


def stored(path: Path) -> TrialAnswer:
    """The answer to what was asked for last. Raises NormscopeError for a record that is damaged, empty or of a newer normscope."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            [version] = db.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise NormscopeError(
                    f"`{path}` was written by a newer normscope (format {version}, this one reads {VERSION}). Upgrade normscope."
                )
            facts = dict(db.execute("SELECT name, data FROM facts WHERE digest = ''"))
            if "plan" not in facts:
                raise NormscopeError(
                    f"`{path}` holds no trial: it was ended before its first run. Start it again."
                )
            plan = msgspec.json.decode(facts["plan"], type=Plan)
            # In the order in which they were put there.
            query = "SELECT data FROM runs WHERE digest = ? ORDER BY rowid"
            told = [d for (d,) in db.execute(query, (plan.digest,))]
            runs = [msgspec.json.decode(d, type=Run) for d in told]
            notes = msgspec.json.decode(facts.get("notes", b"[]"), type=list[str])
    except (sqlite3.Error, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise NormscopeError(f"The record `{path}` is damaged ({error}).") from None
    known = {(r.arm, r.seed): r for r in _of_one_version(runs) if r.seed in plan.seeds}
    dropped = order.dropped(
        plan.arms, known, halving=plan.halving, higher_is_better=plan.higher_is_better
    )
    return answer(plan, arms_of(",".join(plan.arms)), known, dropped, notes)


def _of_one_version(runs: list[Run]) -> list[Run]:
    """Those of the same modules as the last run: the files themselves may have changed since, or be elsewhere."""
    if not runs:
        return []
    last = runs[-1].sources
    return [r for r in runs if all(last.get(f, known) == known for f, known in r.sources.items())]

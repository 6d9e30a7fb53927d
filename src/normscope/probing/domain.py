# pyright: basic
"""Held-out data and other data sets of a setup: how far their statistics are, and what re-estimating gains."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from normscope.errors import NormscopeError
from normscope.probes.answers.domain import Domain, DomainShift
from normscope.probes.domain import Named, shift
from normscope.probes.replay import batch_norms
from normscope.probes.setup import Prepared
from normscope.probes.untouched import untouched
from normscope.probing.questions import Progress


def ask(asked: Prepared, seconds: float, progress: Progress) -> Mapping[str, msgspec.Struct]:
    held_out = {"held_out": asked.held_out} if asked.held_out else {}
    sets = {**held_out, **asked.domains}
    if not sets:
        raise NormscopeError(
            "the setup gives neither `held_out` nor `domains`, so there are no other data to compare with"
        )
    norms = batch_norms(asked.model)
    if not norms:
        raise NormscopeError("it has no batch norm that keeps running statistics")
    named = Named(asked.ids, asked.paths)
    found: list[DomainShift] = []
    missed: list[str] = []
    with untouched(asked.model):
        for done, (name, batches) in enumerate(sets.items(), 1):
            try:
                found.append(
                    shift(
                        asked.model, asked.train, batches, norms, named, name, seconds / len(sets)
                    )
                )
            except NormscopeError as reason:
                missed.append(f"`{name}`: {reason}")
            progress(done / len(sets))
    if not found:
        raise NormscopeError("; ".join(missed))
    answer = Domain(model=0, name=asked.name, shifts=tuple(found), missed=tuple(missed))
    return {"domain": answer}

"""`model.train()` where training goes on after an evaluation."""

from __future__ import annotations

import libcst as cst

from normscope.repairs.source.blocks import (
    Reach,
    Statement,
    around,
    binds,
    model_of,
    standing,
    statement_of,
)
from normscope.repairs.source.edits import RefusedError, TrainingMode
from normscope.repairs.source.script import Script


def train(script: Script, edit: TrainingMode) -> None:
    """Before the innermost loop around the forward; inside it, where the loop itself evaluates, or makes the model."""
    call = script.call_at(edit.place)
    name = model_of(script, call)
    statement = statement_of(script, call)
    evaluates = Reach(script, edit.evaluating, method="eval")
    inside: Statement = statement
    for block in around(script, statement):
        if isinstance(block, cst.With):
            if not binds(block, name):
                inside = block
            continue
        if not evaluates(block) and not binds(block, name) and standing(script, block):
            inside = block
        break
    if not standing(script, inside):
        raise RefusedError("there is no place for a line before it")
    script.insert(inside, f"{name}.train()")

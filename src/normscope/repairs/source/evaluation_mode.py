"""`model.eval()` before an evaluation, and `model.train()` behind it where training goes on."""

from __future__ import annotations

import libcst as cst

from normscope.repairs.source.blocks import (
    Reach,
    around,
    binds,
    leaves,
    model_of,
    standing,
    statement_of,
)
from normscope.repairs.source.edits import EvaluationMode, RefusedError
from normscope.repairs.source.script import Script


def evaluate(script: Script, edit: EvaluationMode) -> None:
    """Put the model into evaluation mode for the widest block around the forward that does not train it."""
    call = script.call_at(edit.place)
    name = model_of(script, call)
    statement = statement_of(script, call)
    trains = Reach(script, edit.training)
    if trains(statement):
        raise RefusedError("the same statement trains the model")
    blocks = [statement]
    for block in around(script, statement):
        if trains(block) or binds(block, name):
            break
        blocks.append(block)
    blocks = [b for b in blocks if standing(script, b)]
    if not blocks:
        raise RefusedError("there is no place for a line before it")
    if not edit.restore:
        script.insert(blocks[-1], f"{name}.eval()")
        return
    if binds(statement, name):
        raise RefusedError(f"`{name}` is another object after it")
    whole = [b for b in blocks if not leaves(b)]
    if whole:
        script.insert(whole[-1], f"{name}.eval()")
        script.insert(whole[-1], f"{name}.train()", after=True)
    elif isinstance(statement, cst.SimpleStatementLine) and len(statement.body) == 1:
        if isinstance(statement.body[0], cst.Expr):
            raise RefusedError("a generator hands its outputs on, and the mode with them")
        script.insert(statement, f"{name}.eval()")
        script.finally_(statement, f"{name}.train()")
    else:
        raise RefusedError("there is no place for `train()` behind it")

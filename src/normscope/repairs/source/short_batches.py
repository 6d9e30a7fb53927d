"""Leave out batches that are too short, where they are made by the user's own code: `if len(x) < 8: continue`."""

from __future__ import annotations

import libcst as cst

from normscope.repairs.source.blocks import binds, statement_of
from normscope.repairs.source.edits import LeaveOut, RefusedError
from normscope.repairs.source.script import Script


def leave_out(script: Script, edit: LeaveOut) -> None:
    """Before the statement of the training forward, in the loop over batches around it. Raises RefusedError."""
    call = script.call_at(edit.place)
    statement = statement_of(script, call)
    _check_loop(script, statement)
    batch = _batch(script, call)
    if binds(statement, batch):
        raise RefusedError(f"`{batch}` is another object after it")
    script.skip(statement, f"len({batch}) < {edit.least}")


def _check_loop(script: Script, statement: cst.CSTNode) -> None:
    for node in script.ancestors(statement):
        if isinstance(node, cst.For | cst.While):
            return
        if isinstance(node, cst.FunctionDef | cst.Lambda | cst.ClassDef):
            break
    raise RefusedError(
        "the loop over batches is not in this function: leave the short batch out where batches are made"
    )


def _batch(script: Script, call: cst.Call) -> str:
    """What the model is given first, where it is a name, a part of something named, or a row selection."""
    first = call.args[0] if call.args else None
    if first is None or first.star:
        raise RefusedError("which of the model's inputs holds the samples is not known")
    whole = inner = first.value
    while True:
        match inner:
            case cst.Name():
                return script.code(whole)
            case cst.Attribute(value=value) | cst.Subscript(value=value):
                inner = value
            case _:
                raise RefusedError(
                    f"`{script.code(whole)}` is computed in the call: leave the short batch out where batches are made"
                )

"""`norm.train()` inside a module becomes `norm.train(self.training)`, or the mode that its own `train` method was given."""

from __future__ import annotations

import libcst as cst

from normscope.repairs.source.edits import FollowMode, RefusedError
from normscope.repairs.source.script import Script, walk


def follow_mode(script: Script, edit: FollowMode) -> None:
    """In the method that calls the norm, and in `train` methods of the file. Raises RefusedError where nothing fixes the mode."""
    method = _method(script, edit)
    found = 0
    for call, mode in [*_in_forward(script, method), *_in_overrides(script)]:
        script.replace(call, lambda updated, mode=mode: _given(updated, mode))
        found += 1
    if not found:
        raise RefusedError("no `train()` of this file's methods was seen to fix the mode")


def _method(script: Script, edit: FollowMode) -> cst.FunctionDef | None:
    """The innermost function around the norm's call."""
    lines = [
        n
        for n in walk(script.module)
        if isinstance(n, cst.FunctionDef) and edit.place.line in script.lines(n)
    ]
    return lines[-1] if lines else None


def _in_forward(script: Script, method: cst.FunctionDef | None) -> list[tuple[cst.Call, str]]:
    owner = _first_parameter(method) if method is not None and _is_method(script, method) else ""
    if method is None or not owner:
        return []
    return [(c, f"{owner}.training") for c in _switches(script, method)]


def _in_overrides(script: Script) -> list[tuple[cst.Call, str]]:
    """PyTorch's own word for the method is `train`, and its argument is the mode."""
    found: list[tuple[cst.Call, str]] = []
    for method in walk(script.module):
        if isinstance(method, cst.FunctionDef) and method.name.value == "train":
            if not _is_method(script, method) or len(method.params.params) != 2:
                continue
            mode = method.params.params[1].name.value
            found += [(c, mode) for c in _switches(script, method)]
    return found


def _switches(script: Script, method: cst.FunctionDef) -> list[cst.Call]:
    """Statements `something.train()` or `something.train(True)`."""
    return [
        call
        for node in walk(method)
        if isinstance(node, cst.Expr)
        and isinstance(call := node.value, cst.Call)
        and isinstance(call.func, cst.Attribute)
        and call.func.attr.value == "train"
        and [script.code(a.value) for a in call.args] in ([], ["True"])
    ]


def _is_method(script: Script, function: cst.FunctionDef) -> bool:
    above = script.parent(function)
    return above is not None and isinstance(script.parent(above), cst.ClassDef)


def _first_parameter(method: cst.FunctionDef) -> str:
    return method.params.params[0].name.value if method.params.params else ""


def _given(call: cst.Call, mode: str) -> cst.Call:
    return call.with_changes(args=[cst.Arg(cst.parse_expression(mode))])

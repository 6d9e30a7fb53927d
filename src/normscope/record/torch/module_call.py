# pyright: basic
"""`Module.__call__`, which every module passes: the framework's own source with one question put before it.

A wrapper would add a call to each module of each forward, ten times what the question itself takes, and a frame to every
traceback. Where the source is not at hand, a wrapper it is.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch.compiler import is_dynamo_compiling

from normscope.record.torch import live

# While dynamo compiles it reads a constant here, so that its graphs depend on nothing of ours.
QUESTION = """
def make(compiling, live, call):
    if not compiling() and (observer := live[0]) is not None and not observer.inside:
        return observer.forwards.run(call, {names[0]}, {names[1]}, {names[2]})
"""


def module_call(original: Callable[..., Any]) -> Callable[..., Any]:
    """`original`, a method with the parameters (self, *args, **kwargs), with the question before its body."""
    try:
        return _recompiled(original)
    except (OSError, TypeError, SyntaxError):  # no source
        return _wrapped(original)


def _recompiled(original: Any) -> Callable[..., Any]:
    code = original.__code__
    lines, first = inspect.getsourcelines(original)
    # Below an `if`, the lines may stay indented: columns stay what they are in the framework's file.
    [block] = ast.parse("if True:\n" + "".join(lines)).body
    assert isinstance(block, ast.If)
    [function] = block.body
    [maker] = ast.parse(QUESTION.format(names=code.co_varnames)).body
    if not isinstance(function, ast.FunctionDef) or not isinstance(maker, ast.FunctionDef):
        raise SyntaxError("not a plain function")
    ast.increment_lineno(function, first - 2)
    for node in ast.walk(maker):
        if hasattr(node, "lineno"):
            ast.copy_location(node, function)
    function.body[:0] = maker.body
    leave = ast.Return(ast.Name(function.name, ast.Load()))
    maker.body = [function, ast.fix_missing_locations(ast.copy_location(leave, function))]
    space: dict[str, Any] = {}
    tree = ast.Module([maker], [])
    exec(compile(tree, code.co_filename, "exec"), original.__globals__, space)
    return space["make"](is_dynamo_compiling, live.observer, original)


def _wrapped(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        if not is_dynamo_compiling() and (observer := live.observer[0]) and not observer.inside:
            return observer.forwards.run(original, self, args, kwargs)
        return original(self, *args, **kwargs)

    return __call__

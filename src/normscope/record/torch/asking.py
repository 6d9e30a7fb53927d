# pyright: basic
"""A function of the framework, compiled anew from its own source with one question put before its body.

A wrapper would add a call to each call, several times what the question itself takes, and a frame to every traceback.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from typing import Any

from torch.compiler import is_dynamo_compiling

from normscope.record.torch import live

# Around both, so that they see these names; the framework's own module is the function's namespace as before.
MAKER = "def make(compiling, live, call):\n    pass"


def asking(
    original: Callable[..., Any], question: str, otherwise: Callable[..., Any]
) -> Callable[..., Any]:
    """`original` with `question` before its body; what `otherwise` makes of it where its source is not at hand.

    Args:
        original: a function of Python, without a closure.
        question: statements in which `live` is the module that holds the live observer, `call` the original, and `compiling()`
            a constant for dynamo, so that no compiled graph depends on the rest. They use the original's parameters.
            (Dynamo wraps all three before it asks, where a module is made within a compiled function; it can wrap these.)
        otherwise: wraps it.
    """
    try:
        return _compiled(original, question)
    except (OSError, TypeError, SyntaxError, ValueError, AttributeError):
        return otherwise(original)


def _compiled(original: Any, question: str) -> Callable[..., Any]:
    code = original.__code__
    if code.co_freevars or not set(names_read(question)) <= set(code.co_varnames):
        raise ValueError("not the function that the question was written for")
    lines, first = inspect.getsourcelines(original)
    # Below an `if`, a method may stay indented: columns stay what they are in the framework's file.
    above = "if True:\n" if lines[0].startswith(" ") else "\n"
    function: Any = ast.parse(above + "".join(lines)).body[0]
    function = function.body[0] if isinstance(function, ast.If) else function
    ast.increment_lineno(function, first - 2)
    function.returns = None
    for parameter in ast.walk(function.args):
        if isinstance(parameter, ast.arg):
            parameter.annotation = None  # `update_wrapper` brings them
    at = 1 if ast.get_docstring(function, clean=False) is not None else 0
    function.body[at:at] = _placed(ast.parse(question).body, function)
    leave = ast.Return(ast.Name(function.name, ast.Load()))
    maker: Any = ast.parse(MAKER).body[0]
    maker.body = [function, *_placed([leave], function)]
    space: dict[str, Any] = {}
    tree = ast.Module(_placed([maker], function, inside=False), [])
    exec(compile(tree, code.co_filename, "exec"), original.__globals__, space)
    return space["make"](is_dynamo_compiling, live, original)


def names_read(question: str) -> set[str]:
    """The names that a question takes from the function that it is put into."""
    nodes = [n for n in ast.walk(ast.parse(question)) if isinstance(n, ast.Name)]
    stored = {n.id for n in nodes if isinstance(n.ctx, ast.Store)}
    return {n.id for n in nodes} - stored - {"compiling", "live", "call", "dict"}


def _placed(statements: list[Any], function: ast.AST, *, inside: bool = True) -> list[Any]:
    """The statements, at the function's own line."""
    for statement in statements:
        for node in ast.walk(statement) if inside else [statement]:
            if "lineno" in node._attributes:
                ast.copy_location(node, function)
    return statements

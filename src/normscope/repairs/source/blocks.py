"""What surrounds the call of a model: its statement, the loops and `with` blocks around that, and what they lead to."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from normscope.repairs.source.edits import RefusedError
from normscope.repairs.source.script import Script, assigned, walk

Statement = cst.SimpleStatementLine | cst.BaseCompoundStatement
SCOPES = (cst.FunctionDef, cst.ClassDef, cst.Lambda)


def model_of(script: Script, call: cst.Call) -> str:
    """The model as the call names it; of a slice, what it is cut from, which must be a module to give one.

    Raises RefusedError for an expression that may be another object the next time.
    """
    whole: cst.BaseExpression = call.func
    match whole:
        case cst.Subscript(value=value, slice=[cst.SubscriptElement(slice=cst.Slice())]):
            whole = value
        case _:
            pass
    inner = whole
    while True:
        match inner:
            case cst.Name():
                return script.code(whole)
            case cst.Attribute(value=value):
                inner = value
            case cst.Subscript(
                value=value,
                slice=[
                    cst.SubscriptElement(
                        slice=cst.Index(value=cst.Integer() | cst.SimpleString() | cst.Name())
                    )
                ],
            ):
                inner = value
            case _:
                raise RefusedError(
                    f"the model is called as `{script.code(call.func)}`, which is no name"
                )


def statement_of(script: Script, call: cst.Call) -> Statement:
    """The statement that the call stands in. Raises RefusedError where no line can be put before it."""
    name = model_of(script, call)
    for node in script.ancestors(call):
        if isinstance(node, cst.Lambda):
            raise RefusedError("the model is called inside a `lambda`")
        if isinstance(node, cst.CompFor | cst.BaseComp) and binds(node, name):
            raise RefusedError(f"`{name}` is a variable of a comprehension")
        if isinstance(node, cst.SimpleStatementLine | cst.BaseCompoundStatement):
            if isinstance(node, SCOPES) or isinstance(script.parent(node), cst.If | cst.Else):
                break
            return node
    raise RefusedError("there is no place for a line before it")


def around(script: Script, statement: Statement) -> Iterator[Statement]:
    """The loops and `with` blocks around a statement, inside out, up to whatever runs only sometimes or elsewhere."""
    for node in script.ancestors(statement):
        if isinstance(node, cst.For | cst.While | cst.With):
            yield node
        elif not isinstance(node, cst.IndentedBlock | cst.SimpleStatementSuite):
            return


def standing(script: Script, statement: Statement) -> bool:
    """Whether it stands in a block of lines, where others can be put beside it."""
    return isinstance(script.parent(statement), cst.IndentedBlock | cst.Module)


def binds(node: cst.CSTNode, name: str) -> bool:
    """Whether `node` gives `name` or a part of it a new value."""
    parts = name.replace("[", ".").split(".")
    return any(name == a or name.startswith((f"{a}.", f"{a}[")) for a in assigned(node)) or any(
        a in parts[1:] for a in assigned(node)
    )


def leaves(node: cst.CSTNode, *, loops: int = 0) -> bool:
    """Whether a line behind `node` may be passed by: it returns from its function, or ends a loop around it."""
    match node:
        case cst.FunctionDef() | cst.Lambda() | cst.ClassDef():
            return False
        case cst.Return() | cst.Yield():
            return True
        case cst.Break() | cst.Continue():
            return not loops
        case cst.For() | cst.While():
            loops += 1
        case _:
            pass
    return any(leaves(child, loops=loops) for child in node.children)


class Reach:
    """Which parts of a file lead to some of its lines, also through functions of the file, known by their names."""

    def __init__(self, script: Script, lines: frozenset[int], method: str = "") -> None:
        self._script = script
        self._lines = lines
        self._method = method
        functions = [n for n in walk(script.module) if isinstance(n, cst.FunctionDef)]
        self._names: set[str] = set()
        while more := {
            f.name.value for f in functions if f.name.value not in self._names and self._leads(f)
        }:
            self._names |= more

    def __call__(self, node: cst.CSTNode) -> bool:
        """Whether running `node` may run one of the lines, or call the method without arguments."""
        return self._leads(node)

    def _leads(self, node: cst.CSTNode) -> bool:
        if self._lines.intersection(self._script.lines(node)):
            return True
        return any(
            name in self._names or (attribute and name == self._method)
            for name, attribute in _called(node)
        )


def _called(node: cst.CSTNode) -> Iterator[tuple[str, bool]]:
    """The last names of what is called, and whether each is an attribute."""
    for call in walk(node):
        match call:
            case cst.Call(func=cst.Name(value=name)):
                yield name, False
            case cst.Call(func=cst.Attribute(attr=cst.Name(value=name))):
                yield name, True
            case _:
                pass

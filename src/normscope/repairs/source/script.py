"""One source file as a syntax tree: finds a call by its place, and carries edits out, leaving all else byte for byte."""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, ParentNodeProvider, PositionProvider

from normscope.record.written import Place
from normscope.repairs.source.edits import RefusedError

LINE = re.compile(rb"\r\n|\n|\r")
Replace = Callable[[Any], Any]


class Script:
    """The tree of a file, and the changes that are wanted in it."""

    def __init__(self, source: bytes) -> None:
        try:
            module = cst.parse_module(source)
        except (cst.ParserSyntaxError, UnicodeDecodeError, LookupError) as error:
            raise RefusedError(
                f"it cannot be parsed ({str(error).splitlines()[0].rstrip(':')})"
            ) from None
        if module.bytes != source:
            raise RefusedError("it would not be kept byte for byte")
        wrapper = MetadataWrapper(module)
        self.module = wrapper.module
        self._ranges = wrapper.resolve(PositionProvider)
        self._parents = wrapper.resolve(ParentNodeProvider)
        self._lines = [
            line.decode(module.encoding, "replace") for line in LINE.split(source.removeprefix(BOM))
        ]
        self._replaced: dict[cst.CSTNode, list[Replace]] = {}
        self._before: dict[cst.CSTNode, list[str]] = {}
        self._after: dict[cst.CSTNode, list[str]] = {}
        self._wrapped: dict[cst.CSTNode, str] = {}
        self._skipped: dict[cst.CSTNode, str] = {}

    # ---- finding --------------------------------------------------------------------------------

    def call_at(self, place: Place) -> cst.Call:
        """The call whose expression has exactly this range."""
        start = place.line, self._column(place.line, place.column)
        end = place.end_line, self._column(place.end_line, place.end_column)
        for node, at in self._ranges.items():
            if isinstance(node, cst.Call) and _span(at) == (start, end):
                if isinstance(node.func, cst.Name) and self._is_builtin(node.func.value):
                    raise RefusedError(
                        f"what was built here is built inside `{node.func.value}(…)`"
                    )
                return node
        raise RefusedError("no call stands there any more")

    def _column(self, line: int, column: int) -> int:
        """Characters from bytes of UTF-8."""
        if line > len(self._lines):
            return -1
        return len(self._lines[line - 1].encode()[:column].decode(errors="ignore"))

    def _is_builtin(self, name: str) -> bool:
        return hasattr(builtins, name) and name not in assigned(self.module)

    def lines(self, node: cst.CSTNode) -> range:
        at = self._ranges[node]
        return range(at.start.line, at.end.line + 1)

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        return self._parents.get(node)

    def ancestors(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """From the parent outwards."""
        above = self.parent(node)
        while above is not None:
            yield above
            above = self.parent(above)

    def code(self, node: cst.CSTNode) -> str:
        return self.module.code_for_node(node).strip()

    # ---- changing -------------------------------------------------------------------------------

    def replace(self, node: cst.CSTNode, change: Replace) -> None:
        self._replaced.setdefault(node, []).append(change)

    def insert(self, statement: cst.CSTNode, line: str, *, after: bool = False) -> None:
        """A line before or after a statement of a block, unless the very same line stands there already."""
        if self.code_beside(statement, after=after) == line:
            return
        lines = (self._after if after else self._before).setdefault(statement, [])
        if line not in lines:
            lines.append(line)

    def finally_(self, statement: cst.CSTNode, line: str) -> None:
        """Run a line after a statement that leaves the function."""
        self._wrapped[statement] = line

    def skip(self, statement: cst.CSTNode, condition: str) -> None:
        """Go on with the next round of the loop, before a statement in it, where the condition holds."""
        self._skipped[statement] = condition

    def code_beside(self, statement: cst.CSTNode, *, after: bool) -> str:
        """The statement before or after another one in the same block, without its comments."""
        block = self.parent(statement)
        body: Sequence[cst.CSTNode] = getattr(block, "body", ())
        here = next((i for i, s in enumerate(body) if s is statement), -1)
        at = here + (1 if after else -1)
        if here < 0 or not 0 <= at < len(body):
            return ""
        beside = body[at]
        if not isinstance(beside, cst.SimpleStatementLine):
            return ""
        return self.code(beside.with_changes(leading_lines=(), trailing_whitespace=PLAIN))

    def bytes(self) -> bytes:
        """The file with all changes."""
        return self.module.visit(_Changes(self)).bytes


class _Changes(cst.CSTTransformer):
    def __init__(self, script: Script) -> None:
        super().__init__()
        self._script = script

    def on_leave(self, original_node: Any, updated_node: Any) -> Any:
        updated: Any = super().on_leave(original_node, updated_node)
        script = self._script
        for change in script._replaced.get(original_node, ()):  # pyright: ignore[reportPrivateUsage]
            updated = change(updated)
        if line := script._wrapped.get(original_node):  # pyright: ignore[reportPrivateUsage]
            updated = _tried(updated, line)
        before = script._before.get(original_node, [])  # pyright: ignore[reportPrivateUsage]
        after = script._after.get(original_node, [])  # pyright: ignore[reportPrivateUsage]
        skipped = script._skipped.get(original_node)  # pyright: ignore[reportPrivateUsage]
        if not before and not after and skipped is None:
            return updated
        above: list[Any] = [_statement(line) for line in before]
        if skipped is not None:
            above.insert(0, _continued(skipped))
        if above:
            blank, rest = _blank_lines(updated.leading_lines)
            above[0] = above[0].with_changes(leading_lines=blank)
            updated = updated.with_changes(leading_lines=rest)
        return cst.FlattenSentinel([*above, updated, *(_statement(line) for line in after)])


def _statement(line: str) -> cst.SimpleStatementLine:
    # Parts without a newline of their own take the file's.
    return cst.SimpleStatementLine([cst.Expr(cst.parse_expression(line))])


def _continued(condition: str) -> cst.If:
    return cst.If(
        test=cst.parse_expression(condition),
        body=cst.IndentedBlock([cst.SimpleStatementLine([cst.Continue()])]),
    )


def _tried(statement: Any, line: str) -> cst.Try:
    return cst.Try(
        leading_lines=statement.leading_lines,
        body=cst.IndentedBlock([statement.with_changes(leading_lines=())]),
        finalbody=cst.Finally(body=cst.IndentedBlock([_statement(line)])),
    )


def _blank_lines(lines: Sequence[cst.EmptyLine]) -> tuple[list[cst.EmptyLine], list[cst.EmptyLine]]:
    """The blank lines above a statement, and what follows them: a comment stays with its statement."""
    n = next((i for i, line in enumerate(lines) if line.comment is not None), len(lines))
    return list(lines[:n]), list(lines[n:])


def _span(at: CodeRange) -> tuple[tuple[int, int], tuple[int, int]]:
    return (at.start.line, at.start.column), (at.end.line, at.end.column)


def walk(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """A node and all below it, in the order of the text."""
    yield node
    for child in node.children:
        yield from walk(child)


def assigned(node: cst.CSTNode) -> set[str]:
    """What `node` binds: names, and attributes written with dots."""
    return {name for part in walk(node) for name in _bound(part)}


def _bound(node: cst.CSTNode) -> Iterator[str]:
    match node:
        case (
            cst.AssignTarget(target=target)
            | cst.AnnAssign(target=target)
            | cst.AugAssign(target=target)
            | cst.NamedExpr(target=target)
            | cst.For(target=target)
            | cst.CompFor(target=target)
            | cst.AsName(name=target)
        ):
            yield from _names(target)
        case cst.ImportAlias(asname=None):
            yield node.evaluated_name.partition(".")[0]
        case cst.FunctionDef(name=name) | cst.ClassDef(name=name):
            yield name.value
        case _:
            pass


def _names(target: cst.BaseExpression) -> Iterator[str]:
    if isinstance(target, cst.Tuple | cst.List):
        for element in target.elements:
            yield from _names(element.value)
    else:
        yield cst.Module([]).code_for_node(target).strip()


BOM = b"\xef\xbb\xbf"
PLAIN = cst.TrailingWhitespace()

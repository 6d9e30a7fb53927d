"""A keyword argument of one call: set, replaced, or taken from its position."""

from __future__ import annotations

import ast
from typing import cast

import libcst as cst

from normscope.repairs.source.edits import UNKNOWN, RefusedError, SetKeyword
from normscope.repairs.source.script import Script


def set_keyword(script: Script, edit: SetKeyword) -> None:
    """Have the call at the edit's place pass `keyword=value`. Raises RefusedError."""
    call = script.call_at(edit.place)
    here = _argument(call, edit)
    if here is None and edit.keyword not in edit.parameters and not edit.open:
        raise RefusedError(f"the function that this call enters takes no `{edit.keyword}`")
    if here is not None:
        written = script.code(here.value)
        if _same(written, edit.value):
            return
        if edit.expected is not UNKNOWN and _differs(written, edit.expected):
            raise RefusedError(
                f"it says `{edit.keyword}={written}`, but the run had {edit.expected}: that came from elsewhere"
            )
    script.replace(call, lambda updated: _changed(updated, edit))


def _argument(call: cst.Call, edit: SetKeyword) -> cst.Arg | None:
    """The argument that passes the keyword now, None where the default holds. Raises RefusedError when that is unclear."""
    for argument in call.args:
        if argument.keyword is not None and argument.keyword.value == edit.keyword:
            return argument
    if any(a.star == "**" for a in call.args):
        raise RefusedError(f"its `**` arguments may hold `{edit.keyword}`")
    index = edit.parameters.index(edit.keyword) if edit.keyword in edit.parameters else None
    for i, argument in enumerate(a for a in call.args if a.keyword is None):
        if argument.star == "*" and index is not None and index >= i:
            raise RefusedError(f"its `*` arguments may hold `{edit.keyword}`")
        if i == index:
            return argument
    return None


def _changed(call: cst.Call, edit: SetKeyword) -> cst.Call:
    value = cst.parse_expression(edit.value)
    here = _argument(call, edit)
    if here is None:
        return call.with_changes(
            args=_appended(call, cst.Arg(value, keyword=cst.Name(edit.keyword), equal=TIGHT))
        )
    args = list(call.args)
    i = args.index(here)
    last = all(a.keyword is not None for a in args[i + 1 :])
    if here.keyword is None and last:
        # By its name from here on; behind it no argument counts on its position.
        args[i] = here.with_changes(value=value, keyword=cst.Name(edit.keyword), equal=TIGHT)
    else:
        args[i] = here.with_changes(value=value)
    return call.with_changes(args=args)


def _appended(call: cst.Call, new: cst.Arg) -> list[cst.Arg]:
    """The arguments with one more, laid out as those before it."""
    if not call.args:
        return [new]
    *others, last = call.args
    if len(call.args) == 1 and isinstance(last.value, cst.GeneratorExp) and not last.value.lpar:
        raise RefusedError("a generator is its only argument")
    gap = others[-1].comma if others else cst.MaybeSentinel.DEFAULT
    between = gap.whitespace_after if isinstance(gap, cst.Comma) else call.whitespace_before_args
    broken = isinstance(between, cst.ParenthesizedWhitespace)
    if isinstance(last.comma, cst.Comma):
        closing = last.comma.whitespace_after
        own, rest = _split(closing, between if broken else SPACE)
        comma = last.comma.with_changes(whitespace_after=rest)
        return [
            *others,
            last.with_changes(comma=cst.Comma(whitespace_after=own)),
            new.with_changes(comma=comma),
        ]
    own, rest = _split(last.whitespace_after_arg, between if broken else SPACE)
    return [
        *others,
        last.with_changes(comma=cst.Comma(whitespace_after=own), whitespace_after_arg=NOTHING),
        new.with_changes(whitespace_after_arg=rest),
    ]


Space = cst.BaseParenthesizableWhitespace


def _split(closing: Space, between: Space) -> tuple[Space, Space]:
    """The space before and behind a new last argument, from that behind the old one and that between arguments.

    A comment stays behind the argument that it was written for.
    """
    if not isinstance(closing, cst.ParenthesizedWhitespace):
        return _bare(between), closing
    comment = closing.first_line.comment
    if comment is None:
        return _bare(between), closing
    lines = between if isinstance(between, cst.ParenthesizedWhitespace) else closing
    own = closing.with_changes(empty_lines=(), indent=lines.indent, last_line=lines.last_line)
    return own, _bare(closing)


def _bare(space: Space) -> Space:
    """Without comments."""
    if not isinstance(space, cst.ParenthesizedWhitespace):
        return space
    return space.with_changes(first_line=cst.TrailingWhitespace(), empty_lines=())


def _same(one: str, other: str) -> bool:
    return ast.dump(ast.parse(one.strip(), mode="eval")) == ast.dump(
        ast.parse(other.strip(), mode="eval")
    )


def _differs(written: str, expected: object) -> bool:
    """Whether the text is a literal, and another value."""
    try:
        value = cast(object, ast.literal_eval(written))
    except (ValueError, SyntaxError):
        return False
    return value != expected


NOTHING = cst.SimpleWhitespace("")
SPACE = cst.SimpleWhitespace(" ")
TIGHT = cst.AssignEqual(whitespace_before=NOTHING, whitespace_after=NOTHING)

"""Keyword arguments set in a call: by name, by position, over several lines, and refused where it is not clear."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normscope.repairs.source.advice import edited
from normscope.repairs.source.edits import UNKNOWN, RefusedError, SetKeyword
from repairs.source.marked import CONV, FUNCTION, LOADER, NORM, place

SPELLINGS = [
    ("default", NORM, "eps", "1e-05", "f(64)", "f(64, eps=1e-05)"),
    ("no argument", NORM, "eps", "1e-05", "f()", "f(eps=1e-05)"),
    ("keyword", NORM, "momentum", "0.1", "f(64, momentum=0.99)", "f(64, momentum=0.1)"),
    ("keyword with spaces", NORM, "momentum", "0.1", "f(64, momentum = 0.99 )", "f(64, momentum = 0.1 )"),
    ("keyword among others", NORM, "eps", "1e-05", "f(64, eps=2., affine=False)", "f(64, eps=1e-05, affine=False)"),
    ("in second place", NORM, "eps", "1e-05", "f(64, 0.8)", "f(64, eps=1e-05)"),
    ("in second place, a keyword behind", NORM, "eps", "1e-05", "f(64, 0.8, affine=False)", "f(64, eps=1e-05, affine=False)"),
    ("in second place of three", NORM, "eps", "1e-05", "f(64, 0.8, 0.1)", "f(64, 1e-05, 0.1)"),
    ("behind a position", NORM, "momentum", "None", "f(64, 1e-3)", "f(64, 1e-3, momentum=None)"),
    ("a variable", NORM, "momentum", "0.1", "f(64, momentum=args.momentum)", "f(64, momentum=0.1)"),
    ("trailing comma", CONV, "bias", "False", "f(3, 64, 3,)", "f(3, 64, 3, bias=False,)"),
    ("keyword given behind `**`", NORM, "eps", "1e-05", "f(64, eps=0.8, **more)", "f(64, eps=1e-05, **more)"),
    ("behind `*` of fewer", LOADER, "drop_last", "True", "f(*parts, drop_last=False)", "f(*parts, drop_last=True)"),
    ("a flag in sixth place", FUNCTION, "training", "self.training", "f(x, m, v, w, b, True, 0.1)", "f(x, m, v, w, b, self.training, 0.1)"),
    ("several lines", LOADER, "drop_last", "True", "f(\n    data,\n    batch_size=32,\n)", "f(\n    data,\n    batch_size=32,\n    drop_last=True,\n)"),
    ("several lines, no trailing comma", LOADER, "drop_last", "True", "f(\n    data,\n    batch_size=32\n)", "f(\n    data,\n    batch_size=32,\n    drop_last=True\n)"),
    ("one argument over lines", CONV, "bias", "False", "f(\n    3\n)", "f(\n    3,\n    bias=False\n)"),
    ("aligned", CONV, "bias", "False", "f(3, 64,\n  3)", "f(3, 64,\n  3,\n  bias=False)"),
    ("a comment behind the last", LOADER, "drop_last", "True", "f(\n    data,  # all\n    batch_size=32,  # fits\n)", "f(\n    data,  # all\n    batch_size=32,  # fits\n    drop_last=True,\n)"),
    ("a comment and no comma", LOADER, "drop_last", "True", "f(\n    data,  # all\n    batch_size=32  # fits\n)", "f(\n    data,  # all\n    batch_size=32,  # fits\n    drop_last=True\n)"),
]  # fmt: skip


def changed(
    source: str, parameters: tuple[str, ...], keyword: str, value: str, **more: object
) -> str:
    data = source.encode()
    edit = SetKeyword(place(data, "f"), keyword, value, parameters, **more)  # type: ignore[arg-type]
    return edited(data, [edit]).decode()


@pytest.mark.parametrize(
    ("parameters", "keyword", "value", "before", "after"),
    [s[1:] for s in SPELLINGS],
    ids=[s[0] for s in SPELLINGS],
)
def test_spellings(
    parameters: tuple[str, ...], keyword: str, value: str, before: str, after: str
) -> None:
    around = "x = 1  # first\n\ny  =  [{}]   # second\nz=2\n"
    before, after = (around.format(s) for s in (before, after))
    assert changed(before, parameters, keyword, value) == after
    assert changed(after, parameters, keyword, value) == after


@pytest.mark.parametrize(
    ("call", "parameters", "keyword", "reason"),
    [
        ("f(64, **settings)", NORM, "eps", "its `**` arguments may hold `eps`"),
        ("f(*settings)", NORM, "eps", "its `*` arguments may hold `eps`"),
        ("f(64)", ("channels",), "eps", "takes no `eps`"),
        ("f(64, 0.8)", NORM, "eps", "it says `eps=0.8`, but the run had 0.5"),
        ("f(x for x in y)", NORM, "eps", "a generator is its only argument"),
        ("f(3, 4", NORM, "eps", ""),
    ],
)
def test_refusals(call: str, parameters: tuple[str, ...], keyword: str, reason: str) -> None:
    expected = 0.5 if "0.5" in reason else UNKNOWN
    try:
        at = place(f"{call}\n".encode(), "f")
    except SyntaxError:
        at = place(b"f(3, 4)\n", "f")
    with pytest.raises(RefusedError, match=reason.replace("*", r"\*") or "cannot be parsed"):
        edited(
            f"{call}\n".encode(), [SetKeyword(at, keyword, "1e-05", parameters, expected=expected)]
        )


def test_a_call_that_moved_is_refused() -> None:
    at = place(b"f(64)\n", "f")
    with pytest.raises(RefusedError, match="no call stands there any more"):
        edited(b"\nf(64)\n", [SetKeyword(at, "eps", "1e-05", NORM)])


def test_what_a_builtin_builds_is_refused() -> None:
    source = b"norms = list(map(Norm, sizes))\n"
    with pytest.raises(RefusedError, match=r"built inside `list\(…\)`"):
        edited(source, [SetKeyword(place(source, "list"), "eps", "1e-05", NORM)])


def test_the_right_one_of_several_in_a_line() -> None:
    source = b"net = [f(1), f(2), f(f(3))]\n"
    edits = [SetKeyword(place(source, "f", n), "eps", "1e-05", NORM) for n in (1, 3)]
    assert edited(source, edits) == b"net = [f(1), f(2, eps=1e-05), f(f(3, eps=1e-05))]\n"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("encoding", "head"),
    [("utf-8", ""), ("utf-8-sig", ""), ("latin-1", "# -*- coding: latin-1 -*-\n")],
)
def test_bytes_elsewhere_stay(newline: str, encoding: str, head: str) -> None:
    text = f"{head}ü = 'é'\t# ö\n\n\nif ü:\n\tnet = ('ä', f(\n\t\t64,\n\t), 'ß')   \nelse: pass\n"
    source = text.replace("\n", newline).encode(encoding)
    expected = text.replace("\t\t64,\n", "\t\t64,\n\t\teps=1e-05,\n")
    after = edited(source, [SetKeyword(place(source, "f"), "eps", "1e-05", NORM)])
    assert after == expected.replace("\n", newline).encode(encoding)


VALUES = st.sampled_from(["1", "0.5", "None", "x", "a.b", "g(1, 2)", "[1,\n 2]", "'é'"])
GAP = st.sampled_from([", ", ",", ",\n    ", " ,  # why\n  "])


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    positional=st.lists(VALUES, max_size=3),
    keywords=st.dictionaries(st.sampled_from(NORM[3:]), VALUES, max_size=3),
    gap=GAP,
    keyword=st.sampled_from(("eps", "momentum", "affine")),
    trailing=st.booleans(),
)
def test_the_call_means_the_same_but_for_the_keyword(
    positional: list[str], keywords: dict[str, str], gap: str, keyword: str, trailing: bool
) -> None:
    if keyword in keywords and NORM.index(keyword) < len(positional):
        return  # no call of Python
    words = [*positional, *(f"{k}={v}" for k, v in keywords.items())]
    source = f"f({gap.join(words)}{gap if trailing and words else ''})\n"
    once = changed(source, NORM, keyword, "0.25")
    assert changed(once, NORM, keyword, "0.25") == once
    bound = dict(zip(NORM, positional, strict=False)) | keywords | {keyword: "0.25"}
    assert meaning(once) == {
        k: ast.unparse(ast.parse(v.replace("\n", ""), mode="eval")) for k, v in bound.items()
    }
    assert once.count("# why") == source.count("# why")


def meaning(source: str) -> dict[str, str]:
    """The arguments of the call in `source` by the names of its parameters."""
    call = ast.parse(source).body[0].value  # type: ignore[attr-defined]
    found = dict(zip(NORM, map(ast.unparse, call.args), strict=False))
    return found | {k.arg: ast.unparse(k.value) for k in call.keywords}

"""Places of calls in a piece of source, as a recording would hold them."""

from __future__ import annotations

import ast

from normscope.record.written import Place

NORM = ("num_features", "eps", "momentum", "affine", "track_running_stats", "device", "dtype")
CONV = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "groups",
    "bias",
)
LOADER = ("dataset", "batch_size", "shuffle", "sampler", "batch_sampler", "num_workers", "collate_fn", "pin_memory", "drop_last")  # fmt: skip
FUNCTION = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")


def place(source: bytes, call: str, nth: int = 0) -> Place:
    """The range of the `nth` call whose function is written `call`."""
    found = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == call
    ]
    found.sort(key=lambda n: (n.lineno, n.col_offset))
    at = found[nth]
    assert at.end_lineno is not None
    assert at.end_col_offset is not None
    return Place("a.py", at.lineno, at.end_lineno, at.col_offset, at.end_col_offset)

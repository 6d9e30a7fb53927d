"""Reading operations that move values: views, casts, concatenations and pools."""
# pyright: basic

from __future__ import annotations

from typing import Any

from normscope.graph.model import Cast, Concat, Opaque, Pool, View
from normscope.graph.regrouping import Sources, regrouped
from normscope.graph.torch.operation import Operation, Typed, shape_of


def cast(op: Operation) -> Typed | None:
    x, y = op.first("self", "input", "src"), op.results[0]
    if x.dtype.is_floating_point and not y.dtype.is_floating_point and not y.dtype.is_complex:
        return None  # rounding changes the values
    return Typed(Cast(str(y.dtype).removeprefix("torch.")), (x,))


def copy(op: Operation) -> Typed | None:
    source, target = op["src"], op["self"]
    if shape_of(source) != shape_of(target):
        return None
    return Typed(Cast(str(target.dtype).removeprefix("torch.")), (source,))


def view(op: Operation) -> Typed:
    x = op.first("self", "input")
    draft = op.value(x)
    before = draft.shape if draft else shape_of(x)
    return Typed(View(_sources(op, before, shape_of(op.results[0]))), (x,))


def _sources(op: Operation, before: tuple[int, ...], after: tuple[int, ...]) -> Sources:
    n = len(before)
    each = [(d,) for d in range(n)]
    dim = op.first("dim", "dim0")
    match op.name:
        case "permute":
            return tuple((int(d) % n,) for d in op["dims"])
        case "transpose" | "swapaxes" | "swapdims" | "t":
            a, b = (dim, op["dim1"]) if dim is not None else (op["axis0"], op["axis1"])
            if op.name == "t":
                a, b = (0, 1) if n == 2 else (0, 0)
            a, b = a % max(n, 1), b % max(n, 1)
            if n:
                each[a], each[b] = each[b], each[a]
            return tuple(each)
        case "unsqueeze":
            at = dim % (n + 1)
            return (*each[:at], (), *each[at:])
        case "squeeze":
            chosen = _dims(dim, n)
            return tuple(s for d, s in enumerate(each) if not (d in chosen and before[d] == 1))
        case "select" | "unbind":
            return tuple(s for d, s in enumerate(each) if d != dim % n)
        case "expand":
            return (*[()] * (len(after) - n), *each)
        case "slice" | "narrow" | "chunk" | "tensor_split" | "unsafe_chunk":
            return tuple(each)
        case "split" | "split_with_sizes" | "unsafe_split" | "unsafe_split_with_sizes":
            return tuple(each)
        case "view" | "_unsafe_view" | "_reshape_alias" | "reshape" | "flatten" | "unflatten":
            return regrouped(before, after)
        case _:
            return ()


def concat(op: Operation) -> Typed:
    tensors = tuple(op["tensors"])
    return Typed(Concat(op["dim"] % max(op.results[0].ndim, 1)), tensors)


def pool(op: Operation) -> Typed:
    x, y = op.first("self", "input"), op.results[0]
    space = shape_of(y)[2:] if y.ndim == x.ndim and x.ndim > 3 else shape_of(y)[-1:]
    kind = "max" if "max" in op.name else "avg"
    return Typed(Pool(kind, over_all=all(n == 1 for n in space)), (x,))


def interpolation(op: Operation) -> Typed:
    """Every new value is a weighted average of old ones of its channel, with weights that sum to one."""
    return Typed(Pool("avg"), (op["self"],))


def reduction(op: Operation) -> Typed:
    """A mean or maximum over all positions is a pool; over other dimensions it is not modelled.

    Positions are every dimension from the third on, or, in four and more dimensions, all between the first and last.
    """
    x = op["self"]
    dims = _dims(op["dim"], x.ndim)
    positions = [set(range(2, x.ndim))] + ([set(range(1, x.ndim - 1))] if x.ndim > 3 else [])
    if x.ndim > 2 and dims in positions:
        return Typed(Pool("max" if "max" in op.name else "avg", over_all=True), (x,))
    return Typed(Opaque(op.name), (x,), {"dims": dims, "keepdim": bool(op["keepdim"])})


def _dims(dim: Any, n: int) -> set[int]:
    """A dimension argument as a set; none given means all."""
    if dim is None or (isinstance(dim, (list, tuple)) and not dim):
        return set(range(n))
    return {int(d) % max(n, 1) for d in (dim if isinstance(dim, (list, tuple)) else [dim])}


VIEWS = [
    "view",
    "_unsafe_view",
    "_reshape_alias",
    "reshape",
    "flatten",
    "unflatten",
    "permute",
    "transpose",
    "swapaxes",
    "swapdims",
    "t",
    "unsqueeze",
    "squeeze",
    "expand",
    "slice",
    "select",
    "split",
    "split_with_sizes",
    "narrow",
    "chunk",
    "tensor_split",
    "unbind",
    "movedim",
    "moveaxis",
    "numpy_T",
    "mT",
    "expand_as",
    "view_as",
    "reshape_as",
]

INTERPOLATIONS = [
    "upsample_nearest1d",
    "upsample_nearest2d",
    "upsample_nearest3d",
    "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d",
    "_upsample_nearest_exact3d",
    "upsample_linear1d",
    "upsample_bilinear2d",
    "_upsample_bilinear2d_aa",
    "upsample_bicubic2d",
    "_upsample_bicubic2d_aa",
    "upsample_trilinear3d",
]

READERS = {
    **dict.fromkeys(VIEWS, view),
    **dict.fromkeys(INTERPOLATIONS, interpolation),
    **dict.fromkeys(
        ("_to_copy", "to", "clone", "contiguous", "detach", "alias", "lift_fresh", "positive"), cast
    ),
    "copy": copy,
    **dict.fromkeys(("cat", "concat", "concatenate"), concat),
    **dict.fromkeys(
        (
            f"{prefix}{kind}_pool{n}d{suffix}"
            for n in "123"
            for kind in ("avg", "max")
            for prefix in ("", "adaptive_", "_adaptive_", "mkldnn_adaptive_")
            for suffix in ("", "_with_indices")
        ),
        pool,
    ),
    **dict.fromkeys(("mean", "amax"), reduction),
}

# pyright: basic
"""Which input dimensions each output dimension of a view is made of."""

from __future__ import annotations

from typing import Any

from normscope.graph.regrouping import Sources, regrouped

Shape = tuple[int, ...]

VIEWS = (
    "Reshape",
    "Ravel",
    "View",
    "ExpandDims",
    "Squeeze",
    "Transpose",
    "Swapaxes",
    "Moveaxis",
    "BroadcastTo",
    "GetItem",
    "Split",
    "ArraySplit",
    "Unstack",
    "Pad",
)


def sources_of(operation: Any, args: tuple[Any, ...], before: Shape, after: Shape) -> Sources:
    """() where it is not known."""
    n = len(before)
    each: list[tuple[int, ...]] = [(d,) for d in range(n)]
    match type(operation).__name__:
        case "Reshape" | "Ravel" | "View":
            return regrouped(before, after) if -1 not in before and -1 not in after else ()
        case "ExpandDims":
            axes = _axes(operation.axis, len(after))
            rest = iter(each)
            return tuple(() if d in axes else next(rest) for d in range(len(after)))
        case "Squeeze":
            axes = range(n) if operation.axis is None else _axes(operation.axis, n)
            return tuple(s for d, s in enumerate(each) if not (d in axes and before[d] == 1))
        case "Transpose":
            order = operation.axes or tuple(reversed(range(n)))
            return tuple((int(d) % n,) for d in order)
        case "Swapaxes":
            a, b = operation.axis1 % n, operation.axis2 % n
            each[a], each[b] = each[b], each[a]
            return tuple(each)
        case "Moveaxis":
            return _moved(n, _list(operation.source), _list(operation.destination))
        case "BroadcastTo":
            return (*[()] * (len(after) - n), *each)
        case "Split" | "ArraySplit" | "Pad":  # borders are added to positions
            return tuple(each)
        case "Unstack":
            return tuple(s for d, s in enumerate(each) if d != operation.axis % n)
        case "GetItem":
            return _items(args[1], n)
        case _:
            return ()


def _list(value: Any) -> list[int]:
    return [int(v) for v in (value if isinstance(value, (list, tuple)) else [value])]


def _axes(value: Any, n: int) -> set[int]:
    return {a % max(n, 1) for a in _list(value)}


def _moved(n: int, source: list[int], destination: list[int]) -> Sources:
    source, destination = [a % n for a in source], [a % n for a in destination]
    order = [d for d in range(n) if d not in source]
    for to, of in sorted(zip(destination, source, strict=True)):
        order.insert(to, of)
    return tuple((d,) for d in order)


def _items(key: Any, n: int) -> Sources:
    """What `x[key]` keeps; nothing is known of indexing by arrays."""
    items = list(key) if isinstance(key, tuple) else [key]
    if not all(i is None or i is Ellipsis or isinstance(i, (int, slice)) for i in items):
        return ()
    taken = sum(i is not None and i is not Ellipsis for i in items)
    rest: list[Any] = [slice(None)] * (n - taken)
    at = next((k for k, i in enumerate(items) if i is Ellipsis), None)
    items = [*items, *rest] if at is None else [*items[:at], *rest, *items[at + 1 :]]
    result: list[tuple[int, ...]] = []
    dim = 0
    for item in items:
        if item is None:
            result.append(())
            continue
        if isinstance(item, slice):
            result.append((dim,))
        dim += 1
    return tuple(result)

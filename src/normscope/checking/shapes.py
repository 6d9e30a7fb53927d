# pyright: basic
"""A forward pass that computes shapes and nothing else.

On PyTorch's meta device tensors have shapes and no values. Normalizations, dense layers and activations are worked out there by the
steps of their reference form, written in Python: 0.3 to 1.4 ms each. Their results' shapes need no such steps, so they are
answered here; everything else takes its usual way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from normscope.graph.torch.tensors import is_named_tuple, like, tensors_of

aten = torch.ops.aten
Tensor = torch.Tensor


@contextmanager
def shapes_alone(model: nn.Module) -> Iterator[None]:
    """Every parameter and buffer is replaced by one without values, and put back."""
    twins: dict[int, Tensor] = {}
    tables: list[dict[str, Any]] = [t for m in model.modules() for t in (m._parameters, m._buffers)]
    before = [dict(t) for t in tables]
    try:
        for table in tables:
            for name, tensor in table.items():
                if tensor is not None:
                    table[name] = twins.setdefault(id(tensor), _twin(tensor))
        with _Shapes():
            yield
    finally:
        for table, kept in zip(tables, before, strict=True):
            table.clear()
            table.update(kept)


def _twin(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor, device="meta")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty


def without_values(value: Any) -> Any:
    """A model's inputs with every tensor replaced by one that has only a shape.

    Looks into lists, tuples, named tuples, dicts and dataclasses. Raises TypeError for tensors inside of anything else.
    """
    if isinstance(value, Tensor):
        return value.to("meta")
    if type(value) in (list, tuple) or (isinstance(value, tuple) and is_named_tuple(value)):
        return like(value, map(without_values, value))
    if isinstance(value, dict):
        twin = copy(value)
        twin.update({k: without_values(v) for k, v in value.items()})
        return twin
    if is_dataclass(value) and not isinstance(value, type):
        twin = copy(value)
        for f in fields(value):
            object.__setattr__(twin, f.name, without_values(getattr(value, f.name, None)))
        return twin
    if any(True for _ in tensors_of(value)):
        raise TypeError(f"{type(value).__name__} holds tensors that stay where they are")
    return value


class _Shapes(TorchDispatchMode):
    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        answer = ANSWERS.get(func)
        if answer is not None and not kwargs:
            result = answer(*args)
            if result is not None:
                return result
        return func(*args, **(kwargs or {}))


def _is_plain(x: Tensor) -> bool:
    return x.is_meta and x.is_floating_point()


def _alike(x: Tensor, *_: Any) -> Tensor | None:
    return torch.empty_like(x) if _is_plain(x) else None


def _in_order(x: Tensor, *_: Any) -> Tensor | None:
    return torch.empty_like(x, memory_format=torch.contiguous_format) if _is_plain(x) else None


def _itself(x: Tensor, *_: Any) -> Tensor | None:
    return x if _is_plain(x) else None


def _batch_norm(x: Tensor, *rest: Any) -> tuple[Tensor, ...] | None:
    *buffers, training, _, _ = rest  # weight, bias, running mean and variance
    if not _is_plain(x) or x.ndim < 2 or not _all_of(buffers, x.shape[1:2]):
        return None
    last = x.ndim == 4 and not x.is_contiguous()
    last = last and x.is_contiguous(memory_format=torch.channels_last)
    order = torch.channels_last if last else torch.contiguous_format
    kept = x.shape[1] if training else 0
    return torch.empty_like(x, memory_format=order), x.new_empty(kept), x.new_empty(kept)


def _layer_norm(x: Tensor, *rest: Any) -> tuple[Tensor, ...] | None:
    over, weight, bias, _ = rest
    depth = x.ndim - len(over)
    fits = depth >= 0 and list(x.shape[depth:]) == list(over)
    if not _is_plain(x) or not fits or not _all_of((weight, bias), x.shape[depth:]):
        return None
    kept = (*x.shape[:depth], *(1 for _ in over))
    same = torch.empty_like(x, memory_format=torch.contiguous_format)
    return same, x.new_empty(kept), x.new_empty(kept)


def _all_of(tensors: Iterable[Tensor | None], shape: torch.Size) -> bool:
    return all(t is None or t.shape == shape for t in tensors)


def _dense(bias: Tensor, *rest: Any) -> Tensor | None:
    """bias (m) + rows (n, k) · weights (k, m)"""
    rows, weights, *scales = rest
    if scales or not _is_plain(bias):
        return None
    if not bias.dtype == rows.dtype == weights.dtype:  # tensors with values are refused as well
        raise RuntimeError(f"rows of {rows.dtype} meet weights of {weights.dtype}")
    if rows.ndim != 2 or weights.ndim != 2 or rows.shape[1] != weights.shape[0]:
        return None
    if bias.shape != weights.shape[1:]:
        return None
    return bias.new_empty((rows.shape[0], weights.shape[1]))


# By operation: its results where the arguments are plain, None where the operation itself has to say.
ANSWERS: Mapping[Any, Callable[..., Any]] = {
    aten.native_batch_norm.default: _batch_norm,
    aten.native_layer_norm.default: _layer_norm,
    aten.addmm.default: _dense,
    **dict.fromkeys(
        (
            aten.relu.default,
            aten.gelu.default,
            aten.silu.default,
            aten.sigmoid.default,
            aten.tanh.default,
        ),
        _alike,
    ),
    **dict.fromkeys((aten._softmax.default, aten._safe_softmax.default), _in_order),
    **dict.fromkeys(
        (aten.relu_.default, aten.silu_.default, aten.sigmoid_.default, aten.tanh_.default),
        _itself,
    ),
}

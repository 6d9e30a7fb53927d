# pyright: basic
"""How a batch of the user's loader reaches a model: which parts are passed to it, and what is left over for the loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import nn

from normscope.errors import NormscopeError
from normscope.graph.torch import tensors_of
from normscope.probes.replay import bare

Forward = Callable[[nn.Module, Any], Any]
HINT = "Say how a batch reaches the model: `forward=lambda model, batch: model(batch['image'])`."
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Fed(NamedTuple):
    """What the model is called with, and the parts of the batch that it is not given."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    rest: tuple[Any, ...] = ()

    @property
    def samples(self) -> int:
        """The size of dimension 0 of the first tensor that has one. Raises NormscopeError without any."""
        if self.args and type(first := self.args[0]) is torch.Tensor and first.ndim:
            return first.shape[0]  # the common case, without a walk through the batch
        for tensor in tensors_of((self.args, self.kwargs)):
            if tensor.ndim:
                return tensor.shape[0]
        raise NormscopeError("A batch holds no tensor with a sample dimension.")


def feeder(model: nn.Module, forward: Forward | None = None) -> Callable[[Any], Fed]:
    """A function that splits a batch into what `model` takes and the rest.

    A tensor is passed as it is. Of a tuple or list, as many leading items as the model's `forward` requires; of a
    mapping or a dataclass, the entries whose names `forward` has as parameters. With a `forward` callable of the
    user's own the batch stays whole, and of a tuple or list the last item counts as the rest as well.

    The returned function raises NormscopeError when the batch does not fit.
    """
    if forward is not None:
        return lambda batch: Fed((batch,), {}, tuple(batch[-1:]) if _is_sequence(batch) else ())
    takes = cache(lambda: _Takes.of(bare(model)))  # who gives tensors need not wait for it

    def split(batch: Any) -> Fed:
        if isinstance(batch, torch.Tensor):
            return Fed((batch,), {})
        if _is_sequence(batch):
            return takes().leading(batch)
        if isinstance(batch, Mapping):
            return takes().named(batch)
        if is_dataclass(batch) and not isinstance(batch, type):
            return takes().named({f.name: getattr(batch, f.name) for f in fields(batch)})
        return Fed((batch,), {})

    return split


def _is_sequence(batch: Any) -> bool:
    return isinstance(batch, (tuple, list))


@dataclass(frozen=True, slots=True)
class _Takes:
    """The parameters of a model's forward."""

    required: int
    names: frozenset[str]
    lacking: frozenset[str]  # those without a default
    any_name: bool

    @classmethod
    def of(cls, model: nn.Module) -> _Takes:
        try:
            parameters = list(inspect.signature(model.forward).parameters.values())
        except (TypeError, ValueError):  # a compiled forward may have none to show
            return cls(1, frozenset(), frozenset(), False)
        positional = [p for p in parameters if p.kind in _POSITIONAL]
        needed = [p.name for p in positional if p.default is p.empty]
        keyword = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        return cls(
            max(1, len(needed)),
            frozenset(p.name for p in positional if p.kind is not p.POSITIONAL_ONLY)
            | frozenset(keyword),
            frozenset(needed),
            any(p.kind is p.VAR_KEYWORD for p in parameters),
        )

    def leading(self, batch: Any) -> Fed:
        if len(batch) < self.required:
            raise NormscopeError(
                f"A batch has {len(batch)} items, but the model's forward takes {self.required}. {HINT}"
            )
        return Fed(tuple(batch[: self.required]), {}, tuple(batch[self.required :]))

    def named(self, batch: Mapping[Any, Any]) -> Fed:
        given = {k: v for k, v in batch.items() if k in self.names}
        if self.any_name and not self.lacking - set(given):
            given = dict(batch)
        missing = self.lacking - set(given)
        if missing or not given:
            known = ", ".join(map(repr, batch))
            lacking = ", ".join(sorted(missing)) or "none of them"
            raise NormscopeError(
                f"A batch has the entries {known}, of which the model's forward takes "
                f"{'none' if not given else 'some'} and lacks {lacking}. {HINT}"
            )
        return Fed((), given, tuple(v for k, v in batch.items() if k not in given))

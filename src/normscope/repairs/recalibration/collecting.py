# pyright: basic
"""Moments of the inputs of batch norms, taken while they normalize with batch statistics.

A batch norm computes each batch's mean and variance anyway, and leaves them in rows that are pooled in float64. Where a
row would lose digits, the moments are taken from the input itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from normscope.errors import NormscopeError
from normscope.probes.population import Moments
from normscope.repairs.recalibration.choosing import is_half
from normscope.repairs.recalibration.listening import Listener, TooFewValuesError
from normscope.repairs.recalibration.pooling import Pool
from normscope.repairs.recalibration.rows import Arena, Rows

CHECKED = 256  # batches between two looks for what is not finite


class Collector:
    """Listens at the norms from `with` to its end; every batch is committed or taken back as a whole.

    The norms must be in train mode, as `set_mode(model, norms.values())` puts them, inside `untouched`.
    """

    def __init__(self, norms: Mapping[str, _BatchNorm], *, precise: bool = False) -> None:
        arenas: dict[tuple[torch.device, torch.dtype], Arena] = {}
        self._listeners: list[Listener] = [
            Rows(path, norm, _arena_of(norm, arenas))
            if _leaves_rows(norm) and not precise
            else _Values(path, norm)
            for path, norm in norms.items()
        ]
        self._values = [x for x in self._listeners if isinstance(x, _Values)]
        self._pool = Pool(x for x in self._listeners if isinstance(x, Rows))
        self._unchecked = 0  # batches

    def __enter__(self) -> Collector:
        for listener in self._listeners:
            listener.attach()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for listener in self._listeners:
            listener.detach()

    def called(self) -> int:
        """Calls of the layers since the last pooling, those of the batch that runs among them."""
        return sum(listener.waiting() for listener in self._listeners)

    def commit(self) -> None:
        """The batch ran to its end: what it brought counts. Raises NormscopeError for statistics that are not finite."""
        for layer in self._values:
            layer.commit()
        self._pool.commit()
        self._unchecked += 1
        if self._unchecked == CHECKED:
            self._check()

    def take_back(self) -> None:
        """The batch counts nowhere, not even at the layers before the one that refused it."""
        for listener in self._listeners:
            listener.take_back()

    def found(self) -> tuple[dict[str, Moments], dict[str, int]]:
        """Moments on the host and calls, of the layers that were reached.

        Raises NormscopeError for statistics that are not finite.
        """
        self._pool.take()
        self._check()
        self._pool.give()
        reached = [(x, x.moments) for x in self._listeners if x.moments is not None]
        moments = {x.path: Moments(m.count, m.mean.cpu(), m.squares.cpu()) for x, m in reached}
        return moments, {x.path: x.calls for x, _ in reached}

    def _check(self) -> None:
        self._unchecked = 0
        own = [x.moments for x in self._listeners if x.moments is not None]
        every = (*self._pool.checks(), *(m.mean + m.squares for m in own))
        if not all(math.isfinite(x.sum()) for x in every):  # or too large a sum of finite values
            self._pool.give()
            for listener in self._listeners:
                _refuse_unless_finite(listener)


def _refuse_unless_finite(listener: Listener) -> None:
    if listener.moments is None:
        return
    sound = (listener.moments.mean + listener.moments.squares).isfinite()
    if bool(sound.all()):
        return
    channel = int((~sound).nonzero()[0, 0])
    raise NormscopeError(
        f"The inputs of `{listener.path}` have statistics that are not finite (channel {channel} of {len(sound)}, after "
        f"{listener.calls} calls): they hold NaN or infinity, or overflowed. Mend the data or the weights; "
        "the model is as it was before."
    )


class _Values(Listener):
    """Takes the moments from the input itself in float64: slower, and exact for half precision and layers of the user's own."""

    def __init__(self, path: str, norm: _BatchNorm) -> None:
        super().__init__(path, norm)
        self._pending: list[Moments] = []
        self._handle: Any = None

    def attach(self) -> None:
        def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            x, *rest = (*args, *kwargs.values())
            if not isinstance(x, torch.Tensor) or any(isinstance(r, torch.Tensor) for r in rest):
                raise NormscopeError(
                    f"`{self.path}` is called with more than its input, such as a mask, so that which values count is not "
                    f"known. Leave it out: `frozen=['{self.path}']`; the model is as it was before."
                )
            if x.numel() // x.shape[1] < 2:
                raise TooFewValuesError(self.path)
            self._pending.append(Moments.of(x))

        self._handle = self.norm.register_forward_pre_hook(note, with_kwargs=True)

    def detach(self) -> None:
        if self._handle is not None:
            self._handle.remove()

    def waiting(self) -> int:
        return len(self._pending)

    def commit(self) -> None:
        for moments in self._pending:
            self.pool(moments)
        self.calls += len(self._pending)
        self._pending.clear()

    def take_back(self) -> None:
        self._pending.clear()


def _arena_of(norm: _BatchNorm, arenas: dict[tuple[torch.device, torch.dtype], Arena]) -> Arena:
    like = norm.running_mean
    assert like is not None
    place = like.device, like.dtype
    if place not in arenas:
        arenas[place] = Arena(*place)
    return arenas[place]


def _leaves_rows(norm: _BatchNorm) -> bool:
    """Whether the layer does torch's own batch norm and nothing else, in a precision that keeps a batch's statistics."""
    own = type(norm).forward in (_BatchNorm.forward, SyncBatchNorm.forward)
    meets = torch.distributed.is_available() and torch.distributed.is_initialized()
    synchronized = isinstance(norm, SyncBatchNorm) and meets
    return own and "forward" not in vars(norm) and not is_half(norm) and not synchronized

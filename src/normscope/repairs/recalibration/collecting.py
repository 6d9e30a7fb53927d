# pyright: basic
"""Moments of the inputs of batch norms, taken while they normalize with batch statistics.

A batch norm computes each batch's mean and variance anyway. With momentum 1 it writes them, unrounded by any average, into
the buffers it is given: a fresh row for each call, so that reading them costs nothing per value. The rows are pooled
in float64 (Chan, Golub & LeVeque 1979). Where a row would lose digits, the moments are taken from the input itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from normscope.errors import NormscopeError
from normscope.probes.population import Moments
from normscope.repairs.recalibration.choosing import is_half

ROWS = 32  # calls for which room is made at once
POOLED = 256  # calls between two poolings


class TooFewValuesError(Exception):
    """A batch with fewer than two values per channel at some layer: it has no variance."""


class Collector:
    """Listens at the norms from `with` to its end; every batch is committed or taken back as a whole.

    The norms must be in train mode, as `set_mode(model, norms.values())` puts them, inside `untouched`.
    """

    def __init__(self, norms: Mapping[str, _BatchNorm], *, precise: bool = False) -> None:
        self._listeners: dict[str, _Listener] = {
            path: _Rows(path, norm) if _leaves_rows(norm) and not precise else _Values(path, norm)
            for path, norm in norms.items()
        }

    def __enter__(self) -> Collector:
        for listener in self._listeners.values():
            listener.attach()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for listener in self._listeners.values():
            listener.detach()

    def commit(self) -> None:
        """The batch ran to its end: what it brought counts."""
        for listener in self._listeners.values():
            listener.commit()

    def take_back(self) -> None:
        """The batch counts nowhere, not even at the layers before the one that refused it."""
        for listener in self._listeners.values():
            listener.take_back()

    def found(self) -> tuple[dict[str, Moments], dict[str, int]]:
        """Moments on the host and calls, of the layers that were reached.

        Raises NormscopeError for statistics that are not finite.
        """
        moments: dict[str, Moments] = {}
        calls: dict[str, int] = {}
        for path, listener in self._listeners.items():
            total = listener.total()
            if total is not None:
                moments[path] = Moments(total.count, total.mean.cpu(), total.squares.cpu())
                calls[path] = listener.calls
        return moments, calls


class _Listener:
    """One layer's inputs: `calls` committed calls."""

    def __init__(self, path: str, norm: _BatchNorm) -> None:
        self.path, self.norm = path, norm
        self.calls = 0
        self._pooled: Moments | None = None

    def attach(self) -> None:
        raise NotImplementedError

    def detach(self) -> None:
        raise NotImplementedError

    def commit(self) -> None:
        raise NotImplementedError

    def take_back(self) -> None:
        raise NotImplementedError

    def total(self) -> Moments | None:
        return self._pooled

    def _pool(self, moments: Moments) -> None:
        if not bool((moments.mean + moments.squares).isfinite().all()):
            bad = ~(moments.mean.isfinite() & moments.squares.isfinite())
            channel = int(bad.nonzero()[0, 0])
            raise NormscopeError(
                f"The inputs of `{self.path}` have statistics that are not finite (channel {channel} of {len(bad)}, after "
                f"{self.calls} calls): they hold NaN or infinity, or overflowed. Mend the data or the weights; "
                "the model is as it was before."
            )
        self._pooled = moments if self._pooled is None else self._pooled + moments


class _Rows(_Listener):
    """Reads what the layer computes itself. Its forward is replaced by the same operation on a row of its own."""

    def __init__(self, path: str, norm: _BatchNorm) -> None:
        super().__init__(path, norm)
        assert norm.running_mean is not None
        self.channels = norm.running_mean.numel()
        self._blocks: list[torch.Tensor] = []
        self._rows: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._counts: list[int] = []
        self._committed = 0
        self._grow()

    def _grow(self) -> None:
        like = self.norm.running_mean
        assert like is not None
        # Rows begin at multiples of 64 values: some kernels want aligned pointers.
        width = -(-self.channels // 64) * 64
        block = torch.zeros(2, ROWS, width, dtype=like.dtype, device=like.device)
        block = block[:, :, : self.channels]
        self._blocks.append(block)
        self._rows += zip(block[0].unbind(), block[1].unbind(), strict=True)

    def attach(self) -> None:
        norm, counts, channels = self.norm, self._counts, self.channels
        cudnn = torch.backends.cudnn.enabled

        def forward(input: torch.Tensor) -> torch.Tensor:  # noqa: A002, its name in the module's own
            count = input.numel() // channels
            if count < 2:
                raise TooFewValuesError(self.path)
            if len(counts) == len(self._rows):
                self._grow()
            mean, var = self._rows[len(counts)]
            counts.append(count)
            return torch.batch_norm(
                input, norm.weight, norm.bias, mean, var, True, 1.0, norm.eps, cudnn
            )

        vars(norm)["forward"] = forward

    def detach(self) -> None:
        vars(self.norm).pop("forward", None)

    def commit(self) -> None:
        self.calls += len(self._counts) - self._committed
        self._committed = len(self._counts)
        if self._committed >= POOLED:
            self._flush()

    def take_back(self) -> None:
        for row in self._rows[self._committed : len(self._counts)]:
            for part in row:
                part.zero_()  # momentum 1 multiplies what stands there by 0, and 0 · NaN is NaN
        del self._counts[self._committed :]

    def total(self) -> Moments | None:
        self._flush()
        return super().total()

    def _flush(self) -> None:
        if not self._committed:
            return
        used = self._blocks[: -(-self._committed // ROWS)]
        block = (used[0] if len(used) == 1 else torch.cat(used, 1))[:, : self._committed]
        means, variances = block.cpu().double() if block.device.type == "mps" else block.double()
        counts = torch.tensor(self._counts, dtype=torch.float64, device=means.device)
        whole = sum(self._counts)
        mean = counts @ means / whole
        # What is stored is the unbiased variance, squares / (count − 1).
        squares = (counts - 1) @ variances + counts @ (means - mean).square()
        self._counts.clear()
        self._committed = 0
        self._pool(Moments(whole, mean, squares))


class _Values(_Listener):
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

    def commit(self) -> None:
        for moments in self._pending:
            self.calls += 1
            self._pool(moments)
        self._pending.clear()

    def take_back(self) -> None:
        self._pending.clear()


def _leaves_rows(norm: _BatchNorm) -> bool:
    """Whether the layer does torch's own batch norm and nothing else, in a precision that keeps a batch's statistics."""
    own = type(norm).forward in (_BatchNorm.forward, SyncBatchNorm.forward)
    meets = torch.distributed.is_available() and torch.distributed.is_initialized()
    synchronized = isinstance(norm, SyncBatchNorm) and meets
    return own and "forward" not in vars(norm) and not is_half(norm) and not synchronized

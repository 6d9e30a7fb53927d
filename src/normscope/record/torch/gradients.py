# pyright: basic
"""L2 norms of gradients and weights, by parameter tensor, at a few steps that lie ever further apart.

Taken right before an optimizer steps, when gradients are whole, clipped and unscaled, or right after a step that computes
them itself by a closure; of a model whose weights the script's own
lines move, after a backward pass, which of accumulated ones may be a part. Every step past the first ones costs
one comparison; a sample launches two operations per device and waits for nothing: its numbers are read at the next flush.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from time import perf_counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.compiler import is_compiling

from normscope.graph.torch import contents
from normscope.record.recording import GradientSample, Parameter
from normscope.record.torch.norms import clean_path, is_lazy
from normscope.record.torch.roots import Root

if TYPE_CHECKING:
    from normscope.record.torch.observer import Observer

FIRST = 10  # at initialization healthy networks show ratios that a few steps make away with
RATIO = 1.25  # between the steps of two samples: about sixty in ten million
SURELY = 2  # between the steps of two samples that do not ask what they cost: five in the first three hundred
MOST_OPTIMIZERS = 4  # of one sample; two of an adversarial pair take turns
PER_VALUE = 2e-10  # seconds, a first guess of what reading a gradient and its weight takes
PER_TENSOR = 2e-6


@dataclass(slots=True)
class _Taken:
    """One sample as it lies on its devices."""

    step: int
    parameters: list[int]
    norms: list[torch.Tensor]  # of gradients, then of weights: float32 scalars
    scale: torch.Tensor | None  # that the gradients still carry
    overflow: torch.Tensor | None  # above 0: the optimizer will leave this step out


class GradientSeries:
    """Samples each optimizer once at every due step. Tensors of two or more dimensions that belong to a known model count."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        observer.sample_at = FIRST - 1
        self._sampled: set[int] = set()  # optimizers, since the latest due step
        self._began_at = 0
        self._surely = FIRST  # the step from which on the next sample is taken whatever it costs
        self._numbers: dict[tuple[int, str], int] = {}
        self._waiting: list[_Taken] = []
        self._kept = 0
        self._slowness = 1.0  # what a sample took, in units of the guess
        self._by_hand: dict[
            int, Any
        ] = {}  # by model, what stands for the optimizer that it has not
        self._refused = 0.0  # seconds that the latest sample which was too dear would have taken

    def take(self, optimizer: torch.optim.Optimizer) -> None:
        """Before a step of `optimizer` that no other optimizer makes, from step `at` on."""
        observer, steps = self.observer, self.observer.steps
        if is_compiling() or (
            torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()
        ):
            return
        makes_step = bool(steps.trained or observer.used)
        if not self._sampled:
            if not makes_step:  # another optimizer's part of the step before
                return
            self._began_at = steps.count + 1
        elif id(optimizer) in self._sampled or len(self._sampled) == MOST_OPTIMIZERS:
            self._sampled.clear()
            observer.sample_at = max(steps.count + 1, math.ceil(self._began_at * RATIO) - 1)
            self._surely = SURELY * self._began_at
            return
        surely = observer.schedule.budget > 0 and steps.count + 1 >= self._surely
        if self._refused and not surely and not observer.schedule.affords(self._refused):
            self._wait()
            return
        began = perf_counter()
        chosen = self._chosen(optimizer)
        guess = sum(p.numel() for _, p, _ in chosen) * PER_VALUE + len(chosen) * PER_TENSOR
        wanted = 2 * self._slowness * guess
        if not surely and not observer.schedule.affords(wanted):
            self._refused = wanted
            self._wait()
        else:
            self._refused = 0.0
            self._sampled.add(id(optimizer))
            if chosen:
                self._waiting.append(_measure(optimizer, chosen, steps.count + makes_step))
                took = (perf_counter() - began) / guess
                self._slowness = 0.5 * self._slowness + 0.5 * took
        observer.schedule.charge(perf_counter() - began, measuring=True)

    def take_late(self, optimizer: torch.optim.Optimizer) -> None:
        """After a step of `optimizer`, from step `at` on: of one whose closure runs forward and backward within it.

        The gradients are those that it stepped by, unless it writes to them; the weights are those after the step.
        """
        if id(optimizer) not in self._sampled and (
            self.observer.steps.trained or self.observer.used
        ):
            self.take(optimizer)

    def take_by_hand(self, root: Root) -> None:
        """After a backward pass through a model whose weights no optimizer moves."""
        module = root.module
        if module is None or self.observer.count < self.observer.sample_at:
            return
        owner = self._by_hand.setdefault(root.record.id, SimpleNamespace())
        owner.param_groups = [
            {"params": [p for p in contents.parameters(module) if p.requires_grad]}
        ]
        self.take(owner)

    def _wait(self) -> None:
        """A sample is too dear now: try again a little later."""
        count = self.observer.steps.count
        self.observer.sample_at = count + max(1, count // 32)

    def _chosen(
        self, optimizer: torch.optim.Optimizer
    ) -> list[tuple[int, torch.Tensor, torch.Tensor]]:
        """Number, weight and gradient of each tensor that this optimizer holds and that a model is known by."""
        known: dict[int, tuple[int, str]] = {}
        for root in self.observer.registry.roots:
            if (module := root.module) is not None:
                for path, p in contents.named_parameters(module):
                    known.setdefault(id(p), (root.record.id, clean_path(path)))
        held = {id(p): p for group in optimizer.param_groups for p in group["params"]}
        return [
            (self._number(known[key]), p.detach(), p.grad.detach())
            for key, p in held.items()
            if key in known and _is_weight(p) and _is_whole(p.grad)
        ]

    def _number(self, name: tuple[int, str]) -> int:
        number = self._numbers.setdefault(name, len(self._numbers))
        if number == len(self._numbers) - 1:
            self.observer.store.put("parameter", number, Parameter(number, *name))
        return number

    def flush(self) -> None:
        """Read what was sampled and keep it. Waits for the devices."""
        waiting, self._waiting = self._waiting, []
        for taken in waiting:
            if taken.overflow is not None and bool(taken.overflow > 0):
                continue
            scale = 1.0 if taken.scale is None else float(taken.scale)
            values = [float(x) for x in _on_host(taken.norms)]
            half = len(taken.parameters)
            sample = GradientSample(
                taken.step,
                tuple(taken.parameters),
                tuple(_size(x) / scale for x in values[:half]),
                tuple(_size(x) for x in values[half:]),
            )
            self.observer.store.put("gradients", self._kept, sample)
            self._kept += 1


def _is_weight(p: torch.Tensor) -> bool:
    plain = type(p) in (nn.Parameter, torch.Tensor)
    return plain and not is_lazy(p) and p.ndim >= 2 and p.is_floating_point() and not p.is_meta


def _is_whole(gradient: Any) -> bool:
    """Whether there is a dense gradient."""
    return type(gradient) is torch.Tensor and gradient.layout == torch.strided


def _measure(
    optimizer: torch.optim.Optimizer,
    chosen: list[tuple[int, torch.Tensor, torch.Tensor]],
    step: int,
) -> _Taken:
    with torch.no_grad():
        norms = _norms([g for _, _, g in chosen]) + _norms([p for _, p, _ in chosen])
        # A fused optimizer unscales by itself, in its step; others find their gradients unscaled.
        scale = getattr(optimizer, "grad_scale", None)
        return _Taken(
            step,
            [number for number, _, _ in chosen],
            norms,
            scale.clone() if isinstance(scale, torch.Tensor) else None,
            getattr(optimizer, "found_inf", None),
        )


def _norms(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """The L2 norm of each, in few operations; halves are summed in float32, in which they cannot overflow."""
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, t in enumerate(tensors):
        groups.setdefault((t.device, t.dtype), []).append(i)
    norms: list[Any] = [None] * len(tensors)
    for (_, dtype), members in groups.items():
        mine = [tensors[i] for i in members]
        if dtype.itemsize < 4:
            found = [torch.linalg.vector_norm(t, dtype=torch.float32) for t in mine]
        else:
            found = torch._foreach_norm(mine)  # pyright: ignore[reportPrivateImportUsage]
        for i, norm in zip(members, found, strict=True):
            norms[i] = norm
    return norms


def _on_host(scalars: list[torch.Tensor]) -> list[float]:
    """One transfer for each device."""
    groups: dict[torch.device, list[int]] = {}
    for i, x in enumerate(scalars):
        groups.setdefault(x.device, []).append(i)
    values = [0.0] * len(scalars)
    for members in groups.values():
        row = torch.stack([scalars[i].double() for i in members]).tolist()
        for i, value in zip(members, row, strict=True):
            values[i] = value
    return values


def _size(norm: float) -> float:
    """NaN means that nothing was measured: a norm that is not a number is infinite."""
    return math.inf if math.isnan(norm) else norm

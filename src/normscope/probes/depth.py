# pyright: basic
"""What flows through the depth of a model, forth and back: moments of each norm's and activation's output, and the gradients.

In the state in which the model learns: batch statistics, dropout off. Gradients come from `torch.autograd.grad`, so that no `.grad` is touched.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.graph.torch import contents, tensors_of
from normscope.probes.answers.flow import Flow, Place, WeightGradient
from normscope.probes.judgement import LOSSES
from normscope.probes.replay import respond, set_mode, to_device
from normscope.probes.setup import Given
from normscope.probes.visit import Calls, paths

NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm")
ACTIVATIONS = (
    "relu",
    "relu6",
    "leaky_relu",
    "prelu",
    "elu",
    "selu",
    "celu",
    "gelu",
    "silu",
    "mish",
    "sigmoid",
    "tanh",
    "softplus",
    "hardtanh",
    "hardswish",
    "hardsigmoid",
    "logsigmoid",
)
Key = tuple[str, str, int]


@dataclass(slots=True)
class _Values:
    """Of all values of one place: raw moments about a fixed centre, how many are above 0, and squared gradient norms of batches."""

    centre: float
    count: int = 0
    powers: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    above: int = 0
    squares: float = 0.0
    gradients: int = 0

    def add(self, x: torch.Tensor) -> None:
        wide = (x.cpu() if x.device.type == "mps" else x).double()
        away = wide - self.centre
        here = [float(away.pow(k).sum()) for k in (1, 2, 3, 4)]
        a, b, c, d = (p + h for p, h in zip(self.powers, here, strict=True))
        self.powers = (a, b, c, d)
        self.count += x.numel()
        self.above += int((x > 0).sum())

    def place(self, key: Key) -> Place:
        path, function, index = key
        m, s, t, f = (p / self.count for p in self.powers)
        var = s - m * m
        fourth = f - 4 * m * t + 6 * m * m * s - 3 * m**4
        return Place(
            path=path,
            function=function,
            index=index,
            mean=self.centre + m,
            sd=math.sqrt(var) if var > 0 else 0.0,
            kurtosis=fourth / var**2 if var > 0 else math.nan,
            positive=self.above / self.count,
            gradient=math.sqrt(self.squares / self.gradients) if self.gradients else None,
        )


class Places:
    """`call` is a handle for `visit.Calls` that looks at the results of norms and activations, and at what comes back to them."""

    def __init__(self, running: list[str]) -> None:
        self.running = running
        self.values: dict[Key, _Values] = {}
        self._index: Counter[tuple[str, str]] = Counter()

    def begin(self) -> None:
        """A new forward pass."""
        self._index.clear()

    def call(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = func(*args, **kwargs)
        if (
            (name in NORMS or name in ACTIVATIONS)
            and isinstance(out, torch.Tensor)
            and out.is_floating_point()
            and out.numel()
        ):
            self._note(name, out)
        return out

    def _note(self, name: str, out: torch.Tensor) -> None:
        path = self.running[-1] if self.running else ""
        key = (path, name, self._index[path, name])
        self._index[path, name] += 1
        values = out.detach()
        known = self.values.setdefault(key, _Values(float(values.double().mean())))
        known.add(values)
        if out.requires_grad:

            def back(gradient: torch.Tensor) -> None:
                known.squares += float(gradient.detach().double().square().sum())
                known.gradients += 1

            out.register_hook(back)  # before the value is changed in place: of what was looked at


def flow(
    model: nn.Module, batches: Sequence[Given], norms: Collection[_BatchNorm], name: str
) -> Flow:
    """One pass of each batch, and one back where there is a loss. To be called inside `untouched`."""
    set_mode(model, norms)
    weights = {n: p for n, p in contents.named_parameters(model) if p.requires_grad and p.ndim >= 2}
    squares = dict.fromkeys(weights, 0.0)
    back = 0
    with paths(model) as running:
        places = Places(running)
        for batch in batches:
            places.begin()
            with torch.enable_grad(), Calls(places.call):
                out = respond(model, batch)
            with torch.enable_grad():
                loss = loss_of(batch, out)
            if loss is None or not loss.requires_grad or not weights:
                continue
            found = torch.autograd.grad(loss, [*weights.values()], allow_unused=True)
            back += 1
            for key, gradient in zip(weights, found, strict=True):
                if gradient is not None:
                    squares[key] += float(gradient.detach().double().square().sum())
    return Flow(
        model=0,
        name=name,
        samples=sum(b.samples for b in batches),
        batches=len(batches),
        places=tuple(v.place(key) for key, v in places.values.items()),
        weights=tuple(
            WeightGradient(key, math.sqrt(squares[key] / back), float(p.detach().double().norm()))
            for key, p in weights.items()
        )
        if back
        else (),
    )


def loss_of(batch: Given, out: Any) -> torch.Tensor | None:
    """The user's loss of one batch as a number that can be differentiated; None without one."""
    if batch.criterion is not None:
        device = next((t.device for t in tensors_of(out)), batch.device)
        return torch.as_tensor(batch.criterion(out, to_device(batch.wanted, device))).mean()
    if batch.loss not in LOSSES or batch.target is None:
        return None
    outputs = list(tensors_of(out))
    output = outputs[batch.output]
    target = batch.target.to(output.device)
    options = {
        k: v.to(output.device) if isinstance(v, torch.Tensor) else v
        for k, v in batch.loss_kwargs.items()
    }
    if target.is_floating_point():
        target = target.to(output.dtype)
    return LOSSES[batch.loss](output, target, **options)

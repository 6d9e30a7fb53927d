"""Models that use their layers in ways that a repair may trip over."""

from __future__ import annotations

import torch
import torch.nn.functional as F
import torch.nn.utils.parametrize as parametrize
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

X = torch.randn(4, 3, 7, 7, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A convolution, a batch norm that learns something, and a head."""

    def __init__(self, norm: nn.Module | None = None):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3)
        self.norm = norm or nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


class Exponential(nn.Module):
    def forward(self, raw):
        return raw.exp()


class SharedNorm(Net):
    """One norm, two inputs in each forward."""

    def __init__(self):
        super().__init__()
        self.deeper = nn.Conv2d(16, 16, 3)

    def forward(self, x):
        y = self.norm(self.conv(x)).relu()
        return self.head(self.norm(self.deeper(y)).relu().mean((2, 3)))


class TwoNames(Net):
    """One norm under two names, called by the second."""

    def __init__(self):
        super().__init__()
        self.again = self.norm

    def forward(self, x):
        return self.head(self.again(self.conv(x)).relu().mean((2, 3)))


class ParametrizedScale(Net):
    def __init__(self):
        super().__init__()
        parametrize.register_parametrization(self.norm, "weight", Exponential())


class ParametrizedBias(Net):
    def __init__(self):
        super().__init__()
        parametrize.register_parametrization(self.conv, "bias", Exponential())


class InsideParametrized(Net):
    """The module around the norm has a parametrization, which changes its class."""

    def __init__(self):
        super().__init__()
        self.inner = Net()
        parametrize.register_parametrization(self.inner.head, "weight", Exponential())

    def forward(self, x):
        return self.inner(x)


class TiedConvolutions(Net):
    """The second convolution has a norm behind it, the third shares its weight and has none."""

    def __init__(self):
        super().__init__()
        self.second, self.third = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1)
        self.third.weight, self.third.bias = self.second.weight, self.second.bias
        self.between = nn.BatchNorm2d(16)

    def forward(self, x):
        y = self.between(self.second(self.norm(self.conv(x)).relu())).relu()
        return self.head(self.third(y).mean((2, 3)))


class Sloped(nn.BatchNorm2d):
    """An activation fused into the norm by a function, with an argument of its own."""

    def forward(self, input):  # noqa: A002, torch's word
        return F.leaky_relu(super().forward(input), 0.1)


class FusedActivation(Net):
    def __init__(self):
        super().__init__(Sloped(16))


class FunctionalCall(Net):
    """The norm only holds the tensors; a function computes."""

    def forward(self, x):
        n = self.norm
        y = F.batch_norm(
            self.conv(x), n.running_mean, n.running_var, n.weight, n.bias, self.training, 0.1, n.eps
        )
        return self.head(y.relu().mean((2, 3)))


class BoundMethod(Net):
    """The norm's `forward` is called without the norm."""

    def __init__(self):
        super().__init__()
        self.call = self.norm.forward

    def forward(self, x):
        return self.head(self.call(self.conv(x)).relu().mean((2, 3)))


class Standardized(nn.Conv2d):
    """Weight standardization: scaling the weight scales nothing."""

    def forward(self, input):  # noqa: A002, torch's word
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(input, w / w.std((1, 2, 3), keepdim=True), self.bias)


class StandardizedWeight(Net):
    def __init__(self):
        super().__init__()
        self.conv = Standardized(3, 16, 3)


class Padded(nn.Conv2d):
    """A class of its own that is a convolution all the same."""

    def forward(self, input):  # noqa: A002, torch's word
        return F.conv2d(F.pad(input, (1, 0, 1, 0)), self.weight, self.bias)


class PaddedByHand(Net):
    def __init__(self):
        super().__init__()
        self.conv = Padded(3, 16, 3)


class ReadsTheScale(Net):
    def forward(self, x):
        return super().forward(x) * self.norm.weight.mean()


class Hooked(Net):
    """Hooks of the user's own change what goes in and what comes out."""

    def __init__(self):
        super().__init__()
        self.norm.register_forward_pre_hook(lambda _, given: (given[0] * 2,))
        self.norm.register_forward_hook(lambda _, __, out: out.abs() + 1)


class HookedBehind(Net):
    def __init__(self):
        super().__init__()
        self.norm.register_forward_hook(lambda _, __, out: out.abs() + 1)


class NoShift(Net):
    def __init__(self):
        super().__init__()
        self.norm.bias = None


class BatchStatisticsOnly(Net):
    def __init__(self):
        super().__init__(nn.BatchNorm2d(16, track_running_stats=False))


def compiled():
    return torch.compile(Net(), backend="eager")


def parallel():
    return nn.DataParallel(TwoNames())


MODELS = {
    m.__name__: m
    for m in (
        SharedNorm,
        TwoNames,
        ParametrizedScale,
        ParametrizedBias,
        InsideParametrized,
        TiedConvolutions,
        FusedActivation,
        FunctionalCall,
        BoundMethod,
        StandardizedWeight,
        PaddedByHand,
        ReadsTheScale,
        Hooked,
        HookedBehind,
        NoShift,
        BatchStatisticsOnly,
        compiled,
        parallel,
    )
}


def made(name: str) -> nn.Module:
    """The model with scales, shifts and statistics that are no identity."""
    torch.manual_seed(0)
    model = MODELS[name]()
    for norm in [m for m in model.modules() if isinstance(m, _BatchNorm)]:
        with torch.no_grad():
            if "weight" in norm._parameters:
                norm.weight.uniform_(0.5, 1.5)
            if norm.bias is not None:
                norm.bias.normal_()
            if norm.running_mean is not None:
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2)
    return model

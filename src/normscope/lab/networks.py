# pyright: basic
"""The networks of the lab, side by side: perceptrons, convolutional and residual ones, built with the norm that an arm asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normscope.errors import NormscopeError
from normscope.lab.members import Members

Norm = Literal["batch", "group", "layer", "none"]
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "none": nn.Identity,
}
GROUPS = 4


class Linear(nn.Module):
    """y = W x + b of each member; weights are normal with standard deviation `gain` / √inputs (He: √2; biases 0)."""

    def __init__(
        self,
        members: Members,
        inputs: int,
        outputs: int,
        *,
        bias: bool = True,
        gain: float = math.sqrt(2),
    ) -> None:
        super().__init__()
        self.members = members
        drawn = members.normal(inputs, outputs)
        self.weight = nn.Parameter(drawn * (gain / math.sqrt(inputs)))
        self.bias = nn.Parameter(torch.zeros(len(members), 1, outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        each = x.view(len(x), len(self.members), -1).transpose(0, 1)
        y = each @ self.weight if self.bias is None else torch.baddbmm(self.bias, each, self.weight)
        return y.transpose(0, 1).reshape(len(x), -1)


class Conv(nn.Module):
    """3 × 3 with a border of zeros, without bias, He's initialization."""

    def __init__(
        self, members: Members, inputs: int, outputs: int, *, stride: int = 1, size: int = 3
    ) -> None:
        super().__init__()
        self.members, self.stride, self.size = members, stride, size
        drawn = members.normal(outputs, inputs, size, size)
        self.weight = nn.Parameter(drawn * math.sqrt(2 / (inputs * size * size)))

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight.flatten(0, 1)
        return F.conv2d(x, w, stride=self.stride, padding=self.size // 2, groups=len(self.members))


def norm(kind: str, members: Members, channels: int, *, momentum: float | None = 0.1) -> nn.Module:
    """The norm of an arm over (batch, members · channels, …). `layer` takes all channels and positions of a sample, with a scale per channel."""
    wide = len(members) * channels
    match kind:
        case "batch":
            return BatchNorm(wide, momentum=momentum)
        case "group":
            return nn.GroupNorm(len(members) * min(GROUPS, channels), wide)
        case "layer":
            return nn.GroupNorm(len(members), wide)
        case "none":
            return nn.Identity()
    raise NormscopeError(f"`{kind}` is no norm of the lab: batch, group, layer or none.")


class BatchNorm(nn.BatchNorm2d):
    """PyTorch's, for whatever lies behind the channels."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - the base class's name
        del input


def mlp(
    members: Members,
    sizes: Sequence[int],
    *,
    kind: str = "batch",
    order: Literal["before", "after"] = "before",
    activation: str = "relu",
    dropout: float = 0.0,
    dropout_at: Literal["before", "after"] = "after",
    gain: float | None = None,
    momentum: float | None = 0.1,
) -> nn.Sequential:
    """Linear maps of the given sizes with norm and activation between; the last is the classifier.

    `order` puts the norm before or after the activation; `dropout_at` the dropout directly before the norm, or behind norm and activation.
    """
    gain = gain if gain is not None else (math.sqrt(2) if activation == "relu" else 1.0)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes[:-1]):
        normed = [norm(kind, members, outputs, momentum=momentum)]
        if dropout and dropout_at == "before":
            normed.insert(0, nn.Dropout(dropout))
        act = ACTIVATIONS[activation]()
        layers.append(Linear(members, inputs, outputs, gain=gain))
        layers += [*normed, act] if order == "before" else [act, *normed]
        if dropout and dropout_at == "after":
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, Linear(members, sizes[-2], sizes[-1], gain=1.0))


class Residual(nn.Module):
    """x + branch(x); `after` is what stands behind the addition."""

    def __init__(self, branch: nn.Module, after: nn.Module | None = None) -> None:
        super().__init__()
        self.branch = branch
        self.after = nn.Identity() if after is None else after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(x + self.branch(x))


def residual_mlp(
    members: Members,
    inputs: int,
    width: int,
    classes: int,
    blocks: int,
    *,
    kind: str = "batch",
    norm_at: Literal["before", "after"] = "before",
    gamma: float = 1.0,
    skip: bool = True,
) -> nn.Sequential:
    """Blocks of two linear maps, as ResNet's: the second norm before the addition, or on the path behind it.

    `gamma` is the first scale of the last norm of a branch. Without `skip` the same layers in a plain chain.
    """
    layers: list[nn.Module] = [
        Linear(members, inputs, width),
        norm(kind, members, width),
        nn.ReLU(),
    ]
    for _ in range(blocks):
        last = norm(kind, members, width)
        if isinstance(last, BatchNorm | nn.GroupNorm):
            nn.init.constant_(last.weight, gamma)
        branch = [
            Linear(members, width, width),
            norm(kind, members, width),
            nn.ReLU(),
            Linear(members, width, width),
        ]
        if not skip:
            layers += [*branch, last, nn.ReLU()]
        elif norm_at == "before":
            layers.append(Residual(nn.Sequential(*branch, last), nn.ReLU()))
        else:
            layers.append(Residual(nn.Sequential(*branch), nn.Sequential(last, nn.ReLU())))
    return nn.Sequential(*layers, Linear(members, width, classes, gain=1.0))


def cnn(
    members: Members, channels: int, width: int, classes: int, *, kind: str = "batch"
) -> nn.Sequential:
    """Two strided convolutions with norm and ReLU, the mean over positions, a classifier."""
    return nn.Sequential(
        Conv(members, channels, width, stride=2),
        norm(kind, members, width),
        nn.ReLU(),
        Conv(members, width, 2 * width, stride=2),
        norm(kind, members, 2 * width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        Linear(members, 2 * width, classes, gain=1.0),
    )


class Recurrent(nn.Module):
    """An Elman network over the rows of an image, h ← tanh(norm(W x + U h)); the last state is classified.

    `batch` has one norm for all steps, `batch-per-step` one for each (Cooijmans et al. 2016), `layer` and `none` as elsewhere.
    """

    def __init__(
        self,
        members: Members,
        rows: int,
        inputs: int,
        width: int,
        classes: int,
        *,
        kind: str,
        gamma: float = 1.0,
    ) -> None:
        super().__init__()
        self.members, self.rows = members, rows
        self.of_input = Linear(members, inputs, width, gain=1.0)
        self.of_state = Linear(members, width, width, bias=False, gain=0.9)
        count = rows if kind == "batch-per-step" else 1
        made = [norm(kind.removesuffix("-per-step"), members, width) for _ in range(count)]
        for layer in made:
            if isinstance(layer, BatchNorm | nn.GroupNorm):
                nn.init.constant_(layer.weight, gamma)
        self.norms = nn.ModuleList(made)
        self.head = Linear(members, width, classes, gain=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (batch, members · rows · inputs)."""
        each = x.unflatten(1, (len(self.members), self.rows, -1))
        state = torch.zeros(len(x), self.of_state.weight.shape[1] * len(self.members))
        for t in range(self.rows):
            z = self.of_input(each[:, :, t].flatten(1)) + self.of_state(state)
            state = torch.tanh(self.norms[t % len(self.norms)](z))
        return self.head(state)

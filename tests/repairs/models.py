"""Small models, their inputs, and what the truth about their statistics is."""

import random

import numpy as np
import torch
from torch import nn


def mlp(dropout=0.5):
    """Dropout between two batch norms, so that it would change the second one's statistics."""
    return nn.Sequential(
        nn.Linear(4, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(8, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Linear(8, 2),
    )


class Residual(nn.Module):
    """Convolutions with a projection beside them: its norm and the first one do not feed each other."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.short, self.bn3 = nn.Conv2d(3, 6, 1, bias=False), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return self.head((y + self.bn3(self.short(x))).relu().mean((2, 3)))


def inputs(samples=96, width=4, sizes=(32, 32, 32), seed=1):
    """Batches of unequal sizes with a mean and a scale of their own."""
    generator = torch.Generator().manual_seed(seed)
    x = 3 + 2 * torch.randn(samples, width, generator=generator)
    return [*x.split(list(sizes))]


def seen_by(model, batches, norms):
    """The inputs of each norm while all of them normalize with batch statistics: (values, channels) in float64."""
    seen = {n: [] for n in norms}
    handles = [
        n.register_forward_pre_hook(
            lambda m, a: seen[m].append(a[0].detach().double().transpose(0, 1).flatten(1).T)
        )
        for n in norms
    ]
    modes = [(m, m.training) for m in model.modules()]
    kept = {k: v.clone() for k, v in model.state_dict().items()}
    model.eval()
    for n in norms:
        n.training = True
    with torch.no_grad():
        for x in batches:
            model(x.clone())
    for handle in handles:
        handle.remove()
    for module, mode in modes:
        module.training = mode
    model.load_state_dict(kept)
    return {n: torch.cat(parts) for n, parts in seen.items()}


def state_of(model):
    """Everything about a model that a repair may have touched, comparable with ==."""
    tensors = {
        k: bytes(v.detach().contiguous().view(torch.uint8).numpy()) for k, v in _tensors(model)
    }
    facts = [
        (
            path,
            m.training,
            sorted(k for k in vars(m)),
            getattr(m, "momentum", None),
            len(m._forward_pre_hooks),
            len(m._forward_hooks),
            id(m._buffers.get("running_mean")),
        )
        for path, m in model.named_modules()
    ]
    flags = [(k, p.requires_grad, p.grad is None) for k, p in model.named_parameters()]
    return tensors, facts, flags


def _tensors(model):
    for name, t in (*model.named_parameters(), *model.named_buffers()):
        yield name, t.reshape(-1)


def random_states():
    return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())

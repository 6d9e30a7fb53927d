"""Healthy training runs that do what a careless rule would flag: each kind is one function of a random generator.

A kind returns the model and its loop; what varies from run to run is drawn: data, width, depth, batch, optimizer, learning rate,
initialization.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

Run = Callable[[], None]
Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]
DIGITS = load_digits()
IMAGES = torch.tensor(DIGITS.images, dtype=torch.float32)
LABELS = torch.tensor(DIGITS.target)


def rectified(rng: random.Random) -> tuple[nn.Module, Run]:
    """Norms before rectifiers, with the usual initializers, rates and penalties: NS503."""
    width, depth = rng.choice([8, 16, 32, 64]), rng.randint(1, 5)
    make = rng.choice([_dense, _convolutional])
    model = make(width, depth, lambda: nn.ReLU())
    for m in model.modules():
        if isinstance(m, (nn.Linear, nn.Conv2d)) and rng.random() < 0.5:
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
    return model, _classifying(model, rng)


def squashed(rng: random.Random) -> tuple[nn.Module, Run]:
    """Norms before or behind tanh and sigmoid, inputs on a common scale: NS506."""
    width, depth = rng.choice([16, 32, 64]), rng.randint(1, 4)
    kind, first = rng.choice([nn.Tanh, nn.Sigmoid]), rng.random() < 0.7
    model = _dense(width, depth, kind, norm_first=first)
    scheme = rng.choice([nn.init.xavier_uniform_, nn.init.xavier_normal_, nn.init.orthogonal_])
    for m in model.modules():
        if isinstance(m, nn.Linear):
            scheme(m.weight, gain=rng.choice([1.0, 5 / 3]))
    return model, _classifying(model, rng)


def padded(rng: random.Random) -> tuple[nn.Module, Run]:
    """Sequences behind which lie zeros that are like the data on average, that a norm is not given, or words of their own: NS306."""
    channels, width, what = rng.choice([4, 8]), rng.choice([8, 16, 32]), rng.randrange(3)
    longest, shortest = rng.randint(16, 40), rng.uniform(0.1, 0.9)
    least = max(2, int(shortest * longest))
    length = torch.randint(least, longest + 1, (1200,))
    real = torch.arange(longest) < length[:, None]
    if what == 2:
        words = torch.randint(1, rng.choice([30, 100, 300]), (1200, longest)) * real
        y = (2 * (words % 2 * real).sum(1) > length).long()
        model: nn.Module = Words(301, channels, width)
        return model, _training(model, _drawn(words, y, _batch(rng)), rng)
    model = Sequences(channels, width, masked=what == 1)
    # Only where no norm sees them may the data lie away from the zeros.
    x = torch.randn(1200, channels, longest) + rng.uniform(0, 2) * model.masked
    y = (x[:, 0, :least].mean(1) > x[:, 0].mean()).long()
    return model, _training(model, _drawn(x * real[:, None], y, _batch(rng)), rng)


def ended(rng: random.Random) -> tuple[nn.Module, Run]:
    """A norm at the end on purpose: ten classes of a binarized kind, embeddings against centres, or one with scale and shift: NS109."""
    what = rng.choice(["classes", "embedding", "affine"])
    width = rng.choice([16, 32, 64])
    if what == "embedding":
        model: nn.Module = nn.Sequential(
            *_layers(64, width, 1), nn.Linear(width, 16), nn.BatchNorm1d(16)
        )
        centres = F.normalize(torch.randn(10, 16))
        return model, _training(
            model,
            _drawn(IMAGES.flatten(1) / 16, LABELS, _batch(rng)),
            rng,
            loss=lambda out, y: F.cross_entropy(8 * F.normalize(out) @ centres.T, y),
        )
    if what == "classes":
        model = nn.Sequential(
            *_layers(64, width, 2), nn.Linear(width, 10), nn.BatchNorm1d(10, affine=False)
        )
        return model, _classifying(model, rng)
    model = nn.Sequential(*_layers(64, width, 1), nn.Linear(width, 1), nn.BatchNorm1d(1))
    target = (LABELS >= 5).float().unsqueeze(1)
    batches = _drawn(IMAGES.flatten(1) / 16, target, max(16, _batch(rng)))
    return model, _training(model, batches, rng, loss=_binary)


def _binary(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(out, y)


KINDS: Mapping[str, Callable[[random.Random], tuple[nn.Module, Run]]] = {
    "rectified": rectified,
    "squashed": squashed,
    "padded": padded,
    "ended": ended,
}


class Sequences(nn.Module):
    """Two convolutions over time; where it is `masked`, norms get the real positions alone."""

    def __init__(self, channels: int, width: int, *, masked: bool) -> None:
        super().__init__()
        self.masked = masked
        self.convs = nn.ModuleList(
            [nn.Conv1d(channels, width, 3, padding=1), nn.Conv1d(width, width, 1)]
        )
        self.norms = nn.ModuleList([nn.BatchNorm1d(width), nn.BatchNorm1d(width)])
        self.head = nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        real = x.abs().sum(1) > 0
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = conv(x)
            if self.masked:
                rows = x.transpose(1, 2)
                x = (
                    torch.zeros_like(rows)
                    .masked_scatter(real[..., None], norm(rows[real]))
                    .transpose(1, 2)
                )
            else:
                x = norm(x)
            x = torch.relu(x) * real[:, None]
        return self.head(x.sum(2) / real.sum(1, keepdim=True))


class Words(nn.Module):
    """The same over learned vectors of words, of which number 0 is padding and stays 0."""

    def __init__(self, words: int, channels: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(words, channels, padding_idx=0)
        self.over_time = Sequences(channels, width, masked=False)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.over_time(self.vectors(words).mT)


def _layers(inputs: int, width: int, depth: int) -> list[nn.Module]:
    made: list[nn.Module] = [nn.Flatten()]
    for k in range(depth):
        made += [nn.Linear(width if k else inputs, width), nn.BatchNorm1d(width), nn.ReLU()]
    return made


def _dense(
    width: int, depth: int, activation: Callable[[], nn.Module], *, norm_first: bool = True
) -> nn.Module:
    made: list[nn.Module] = [nn.Flatten()]
    for k in range(depth):
        pair = [nn.BatchNorm1d(width), activation()]
        made += [nn.Linear(width if k else 64, width), *(pair if norm_first else pair[::-1])]
    return nn.Sequential(*made, nn.Linear(width, 10))


def _convolutional(width: int, depth: int, activation: Callable[[], nn.Module]) -> nn.Module:
    width = min(width, 24)
    made: list[nn.Module] = [nn.Unflatten(1, (1, 8))]
    for k in range(depth):
        conv = nn.Conv2d(width if k else 1, width, 3, padding=1, stride=1 + (k == 1), bias=False)
        made += [conv, nn.BatchNorm2d(width), activation()]
    return nn.Sequential(*made, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def _batch(rng: random.Random) -> int:
    return rng.choice([16, 24, 32, 48, 64, 128])


def _classifying(model: nn.Module, rng: random.Random) -> Run:
    x = IMAGES / 16
    if rng.random() < 0.5:
        x = (x - x.mean(0)) / (x.std(0) + 0.1)
    return _training(model, _drawn(x, LABELS, _batch(rng)), rng)


def _drawn(x: torch.Tensor, y: torch.Tensor, size: int) -> Batches:
    """Shuffled epochs without end; the last short batch of each is left out."""
    while True:
        for index in torch.randperm(len(x)).split(size):
            if len(index) == size:
                yield x[index], y[index]


def _training(
    model: nn.Module,
    batches: Batches,
    rng: random.Random,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> Run:
    rate, decay = 10 ** rng.uniform(-3, -2), rng.choice([0.0, 1e-4, 1e-2])
    # Looked up when it runs, as scripts do: the observer knows targets by calls of the function.
    loss = loss or (lambda out, y: F.cross_entropy(out, y))
    steps, plain = rng.randint(80, 160), rng.random() < 0.4

    def run() -> None:
        if plain:
            optimizer: torch.optim.Optimizer = torch.optim.SGD(
                model.parameters(), lr=10 * rate, momentum=0.9, weight_decay=decay / 10
            )
        else:
            optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
        model.train()
        for _ in range(steps):
            x, y = next(batches)
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            x, y = next(batches)
            loss(model(x), y)

    return run

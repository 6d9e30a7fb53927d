"""What kind of weather? Gated convolutions over a day of barometer readings at three stations (hPa)."""

from typing import NamedTuple

import torch
from torch import nn

torch.set_num_threads(1)
HOURS, STATIONS = 48, 3


class Split(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


def weather(n, gen):
    y = torch.randint(0, 4, (n,), generator=gen)
    t = torch.linspace(0, 1, HOURS)
    x = torch.zeros(n, STATIONS, HOURS)
    for s in range(STATIONS):
        when = 0.3 + 0.15 * s + 0.1 * torch.rand(n, 1, generator=gen)
        front = 8 * torch.tanh((t - when) * 12)
        swing = 5 * torch.sin(6.28 * (t * (1 + y[:, None]) + torch.rand(n, 1, generator=gen)))
        x[:, s] = torch.where(y[:, None] % 2 == 0, front, -front) + swing
    level = 1013 - torch.tensor([0.0, 12.0, 60.0])[:, None]
    return Split(x + level + 6 * torch.randn(n, 1, 1, generator=gen) + torch.randn(x.shape, generator=gen), y)


class Gate(nn.Module):
    def __init__(self, cin, cout, dilation):
        super().__init__()
        self.both = nn.Conv1d(cin, 2 * cout, 3, padding=dilation, dilation=dilation)

    def forward(self, x):
        signal, gate = self.both(x).chunk(2, dim=1)
        return torch.tanh(signal) * torch.sigmoid(gate)


class Forecaster(nn.Module):
    def __init__(self, width=20):
        super().__init__()
        self.gates = nn.ModuleList([Gate(STATIONS, width, 1), Gate(width, width, 2), Gate(width, width, 4)])
        self.norms = nn.ModuleList([nn.BatchNorm1d(width) for _ in self.gates])
        self.head = nn.Linear(2 * width, 4)

    def forward(self, x):
        for gate, norm in zip(self.gates, self.norms, strict=True):
            x = norm(gate(x))
        return self.head(torch.cat([x.mean(2), x.amax(2)], dim=1))


def training(net, split, epochs, rows=32):
    """Yields the mean loss after every epoch."""
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(epochs):
        net.train()
        losses = []
        for part in torch.randperm(len(split.y)).split(rows):
            loss = nn.functional.cross_entropy(net(split.x[part]), split.y[part])
            opt.zero_grad()
            loss.backward()
            opt.step()
            losses.append(loss.detach())
        yield torch.stack(losses).mean().item()


def main():
    torch.manual_seed(31)
    gen = torch.Generator().manual_seed(31)
    train, test = weather(800, gen), weather(500, gen)
    mean, std = train.x.mean((0, 2), keepdim=True), train.x.std((0, 2), keepdim=True)
    train, test = Split((train.x - mean) / std, train.y), Split((test.x - mean) / std, test.y)
    net = Forecaster()
    for epoch, loss in enumerate(training(net, train, epochs=8)):
        net.eval()
        with torch.no_grad():
            hits = (net(test.x).argmax(1) == test.y).float().mean().item()
        print(f"epoch {epoch}: loss {loss:.3f}, test accuracy {hits:.3f}")


if __name__ == "__main__":
    main()

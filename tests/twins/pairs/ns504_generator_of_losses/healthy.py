"""Which of three laws made a curve: a deep stack of dense layers, trained by a generator that yields its losses."""
import torch
from torch import nn

NORMS = True
DEPTH = 12


def curves(n):
    law = torch.randint(3, (n,))
    t = torch.linspace(0, 2, 24)
    a = 0.5 + torch.rand(n, 1)
    shapes = torch.stack([torch.exp(-a * t), 1 / (1 + a * t), 1 - a * t / 3])
    return shapes[law, torch.arange(n)] + 0.01 * torch.randn(n, 24), law


def stack(width=32):
    parts = [nn.BatchNorm1d(24), nn.Linear(24, width)]
    for _ in range(DEPTH):
        parts += ([nn.BatchNorm1d(width)] if NORMS else []) + [nn.Sigmoid(), nn.Linear(width, width)]
    return nn.Sequential(*parts, nn.ReLU(), nn.Linear(width, 3))


def fitting(net, steps, size=64, lr=0.05):
    optimizer = torch.optim.SGD(net.parameters(), lr, momentum=0.9)
    net.train()
    for _ in range(steps):
        x, law = curves(size)
        loss = nn.functional.cross_entropy(net(x), law)
        net.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


torch.set_num_threads(1)
torch.manual_seed(9)
net = stack()
losses = list(fitting(net, 300))
print("first and last loss", losses[0], sum(losses[-20:]) / 20)
x, law = curves(1000)
with torch.no_grad():
    print("laws told:", (net.eval()(x).argmax(1) == law).float().mean().item())

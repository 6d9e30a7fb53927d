import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

WAYS, SHOTS, QUERIES = 4, 8, 12


class Learner(nn.Module):
    def __init__(self, width=40):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(16, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, WAYS),
        )

    def forward(self, x):
        return self.layers(x)


def task(generator):
    """Which of four frequencies is it? Each task has its own frequencies and loudness."""
    frequency = torch.randperm(7, generator=generator)[:WAYS].sort().values + 1.0
    y = torch.arange(WAYS).repeat(SHOTS + QUERIES)
    t = torch.arange(16) / 16 * 6.283
    phase = torch.rand(len(y), 1, generator=generator)
    x = 5 * torch.sin(frequency[y][:, None] * t + phase) + 3 + torch.randn(len(y), 16, generator=generator)
    cut = WAYS * SHOTS
    return (x[:cut], y[:cut]), (x[cut:], y[cut:])


def run(net, weights, x):
    buffers = {k: v.clone() for k, v in net.named_buffers()}
    return functional_call(net, (weights, buffers), (x,))


def adapt(net, support, steps=2, lr=0.3):
    weights = dict(net.named_parameters())
    for _ in range(steps):
        loss = F.cross_entropy(run(net, weights, support[0]), support[1])
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=net.training)
        weights = {k: w - lr * g for (k, w), g in zip(weights.items(), gradients)}
    return weights


torch.manual_seed(31)
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(31)
net = Learner()
outer = torch.optim.Adam(net.parameters(), 3e-3)
for step in range(150):
    net.train()
    support, query = task(generator)
    loss = F.cross_entropy(run(net, adapt(net, support), query[0]), query[1])
    outer.zero_grad()
    loss.backward()
    outer.step()
net.eval()
scores = []
for _ in range(20):
    support, query = task(generator)
    weights = adapt(net, support)
    with torch.no_grad():
        scores.append((run(net, weights, query[0]).argmax(1) == query[1]).float().mean().item())
print(f"accuracy on new tasks {sum(scores) / len(scores):.3f}")

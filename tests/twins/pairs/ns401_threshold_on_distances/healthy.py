"""Are two digits the same? An embedding trained with a contrastive loss; pairs nearer than a bound count as the same."""

import torch
from sklearn.datasets import load_digits
from torch import nn

BOUND = 0.75


class Embedder(nn.Module):
    def __init__(self, width=96):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, width), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 24),
        )

    def forward(self, x):
        return nn.functional.normalize(self.layers(x), dim=1)


def pairs(x, y, n):
    a = torch.randint(0, len(x), (n,))
    same = torch.rand(n) < 0.5
    b = torch.tensor([int(torch.nonzero((y == y[i]) == s).flatten()[torch.randint(0, 35, ())]) for i, s in zip(a, same)])
    return x[a], x[b], same


def contrastive(d, same):
    return torch.where(same, d.square(), (1.2 - d).clamp(min=0).square()).mean()


def verify(net, first, second, same, group):
    """Pairs sorted by digit, a few at a time."""
    right = 0
    with torch.no_grad():
        for a, b, s in zip(first.split(group), second.split(group), same.split(group)):
            d = (net(a) - net(b)).norm(dim=1)
            right += ((d < BOUND) == s).sum().item()
    return right / len(same)


torch.manual_seed(7)
torch.set_num_threads(1)
digits = load_digits()
x, y = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
net = Embedder()
optimizer = torch.optim.Adam(net.parameters(), 1e-3)
for step in range(250):
    a, b, same = pairs(x[:1400], y[:1400], 48)
    both = net(torch.cat([a, b]))
    d = (both[:48] - both[48:] + 1e-6).norm(dim=1)
    optimizer.zero_grad()
    contrastive(d, same).backward()
    optimizer.step()

net.eval()
test_a, test_b, test_same = pairs(x[1400:], y[1400:], 300)
print(f"verified: {verify(net, test_a, test_b, test_same, 6):.3f}")

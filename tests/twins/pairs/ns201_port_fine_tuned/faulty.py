import numpy as np
import torch
from torch import nn

RATE = 64


def tones(count, kinds, noise, rng):
    """Sums of two tones; the class is the pair."""
    y = rng.integers(0, kinds, count)
    t = np.arange(RATE) / RATE
    phase = rng.uniform(0, 6.3, (count, 2))
    x = np.sin(6.28 * (2 + y)[:, None] * t + phase[:, :1]) + np.sin(6.28 * (11 - y)[:, None] * t + phase[:, 1:])
    x = x * rng.lognormal(0, 0.6, (count, 1)) + rng.normal(0, 0.8, (count, 1)) + rng.normal(0, noise, x.shape)
    return torch.tensor(x[:, None], dtype=torch.float32), torch.tensor(y)


class Original(nn.Module):
    momentum, eps = 0.1, 1e-3

    def __init__(self, kinds):
        super().__init__()
        self.c1, self.n1 = nn.Conv1d(1, 16, 9, stride=2, bias=False), nn.BatchNorm1d(16, self.eps, self.momentum)
        self.c2, self.n2 = nn.Conv1d(16, 32, 7, stride=2, bias=False), nn.BatchNorm1d(32, self.eps, self.momentum)
        self.d1, self.n3 = nn.Linear(32, 32, bias=False), nn.BatchNorm1d(32, self.eps, self.momentum)
        self.out = nn.Linear(32, kinds)

    def forward(self, x):
        x = self.n1(self.c1(x)).relu()
        x = self.n2(self.c2(x)).relu().amax(2)
        return self.out(self.n3(self.d1(x)).relu())


class Port(Original):
    momentum = 0.9  # as in the configuration file of the other framework


def fit(net, x, y, epochs, lr, batch):
    opt = torch.optim.Adam(net.parameters(), lr)
    net.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(batch):
            if len(rows) == batch:
                opt.zero_grad()
                nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
                opt.step()
    return net.eval()


torch.manual_seed(0)
torch.set_num_threads(1)
rng = np.random.default_rng(0)
x, y = tones(1500, 4, 0.4, rng)
original = fit(Original(4), x, y, 4, 3e-3, 50)
weights = {k: v.numpy() for k, v in original.state_dict().items()}

port = Port(4)
port.load_state_dict({k: torch.tensor(v) for k, v in weights.items()})
port.eval()
with torch.no_grad():
    print("largest difference in inference", (port(x) - original(x)).abs().max().item())
x, y = tones(900, 4, 1.2, rng)
fit(port, x, y, 5, 1e-3, 16)
x, y = tones(1000, 4, 1.2, rng)
with torch.no_grad():
    print("accuracy after fine-tuning", (port(x).argmax(1) == y).float().mean().item())

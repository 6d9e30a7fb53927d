import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.checkpoint import checkpoint


class Checkpointed(nn.Module):
    """Runs its block a second time in backward; the running statistics are to be updated once, in that second run."""

    def __init__(self, block):
        super().__init__()
        self.block = block
        self.norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm1d)]
        self.first = True

    def run(self, x):
        for m in self.norms:
            m.track_running_stats = not self.first
        out = self.block(x)
        for m in self.norms:
            m.track_running_stats = True
        self.first = not self.first
        return out

    def forward(self, x):
        if not self.training:
            return self.block(x)
        self.first = True
        return checkpoint(self.run, x, use_reentrant=True)


def block(i, o):
    return Checkpointed(nn.Sequential(nn.Linear(i, o, bias=False), nn.BatchNorm1d(o), nn.ReLU()))


torch.manual_seed(9)
torch.set_num_threads(1)
digits = load_digits()
x, y = torch.tensor(digits.data, dtype=torch.float32).requires_grad_(), torch.tensor(digits.target)
net = nn.Sequential(block(64, 96), block(96, 64), nn.Linear(64, 10))
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
for epoch in range(5):
    net.train()
    for rows in torch.randperm(1400).split(50):
        loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

# calibrate: exact statistics of the final weights
for m in net.modules():
    if isinstance(m, nn.BatchNorm1d):
        m.reset_running_stats()
        m.momentum = None
with torch.no_grad():
    for rows in torch.arange(1400).split(100):
        net(x[rows])
net.eval()
with torch.no_grad():
    print("test accuracy", (net(x[1400:]).argmax(1) == y[1400:]).float().mean().item())

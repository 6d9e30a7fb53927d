import torch
from torch import nn

MOMENTUM = 0.99


class TimeDistributed(nn.Module):
    """Applies a layer for vectors to each step of (N, T, C)."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x.flatten(0, 1)).view(*x.shape[:2], -1)


def walks(count, steps=20):
    kind = torch.randint(0, 4, (count,))
    drift = torch.tensor([[0.25, 0.0], [-0.25, 0.0], [0.0, 0.25], [0.0, -0.25]])[kind]
    x = (drift[:, None] + torch.randn(count, steps, 2)).cumsum(1)
    return 40 + 3 * x, kind


class Net(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.norm = TimeDistributed(nn.BatchNorm1d(2, momentum=1 - MOMENTUM))
        self.rnn = nn.GRU(2, width, batch_first=True)
        self.mix = nn.Sequential(nn.Linear(width, 32, bias=False), nn.BatchNorm1d(32, momentum=1 - MOMENTUM), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, x):
        return self.mix(self.rnn(self.norm(x))[0].mean(1))


def score(net, x, y):
    return (net(x).argmax(1) == y).float().mean().item()


torch.manual_seed(28)
torch.set_num_threads(1)
x, y = walks(900)
val_x, val_y = walks(300)
net = Net()
opt = torch.optim.Adam(net.parameters(), 1e-2)
for epoch in range(3):
    net.train()
    hits = 0.0
    for rows in torch.randperm(900).split(30):
        out = net(x[rows])
        hits += (out.argmax(1) == y[rows]).sum().item() / 900
        opt.zero_grad()
        nn.functional.cross_entropy(out, y[rows]).backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        print(f"epoch {epoch + 1}: train {hits:.3f} val {score(net, val_x, val_y):.3f}")

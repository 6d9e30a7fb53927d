import torch
from torch import nn


class Normalization(nn.Module):
    """Norm over one axis of a four-dimensional tensor, by default the last."""

    def __init__(self, size, axis=-1):
        super().__init__()
        self.bn, self.axis = nn.BatchNorm2d(size), axis

    def forward(self, x):
        return self.bn(x.movedim(self.axis, 1)).movedim(1, self.axis)


def conv(i, o):
    return nn.Conv2d(i, o, 3, padding=1, bias=False)


class Detector(nn.Module):
    def __init__(self, channels=16):
        super().__init__()
        self.layers = nn.Sequential(
            conv(1, channels), Normalization(channels), nn.ReLU(),
            conv(channels, channels), Normalization(channels), nn.ReLU(),
        )
        self.events = nn.Linear(channels * 16, 4)

    def forward(self, x):
        h = self.layers(x)  # (N, channels, time, frequency)
        return self.events(h.amax(2).flatten(1))


def spectrograms(count):
    """What tells the classes apart is how loud a band is against the others."""
    y = torch.randint(0, 4, (count,))
    x = torch.rand(count, 1, 16, 16)
    for k in range(4):
        x[y == k, :, 4:12, 4 * k : 4 * k + 4] += 0.5
    return x * torch.linspace(0.2, 3, 16), y


torch.manual_seed(33)
torch.set_num_threads(1)
x, y = spectrograms(640)
tx, ty = spectrograms(300)
net = Detector()
opt = torch.optim.SGD(net.parameters(), 0.02, momentum=0.9)
for epoch in range(3):
    net.train()
    for rows in torch.randperm(640).split(32):
        opt.zero_grad()
        nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        print(f"epoch {epoch}: accuracy {(net(tx).argmax(1) == ty).float().mean():.3f}")

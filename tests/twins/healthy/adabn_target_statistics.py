"""AdaBN: train on clean digits, re-estimate the statistics on unlabelled target images, then evaluate both ways."""
import copy

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def model():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10),
    )


def adapt(net, loader):
    """A copy of the network whose running statistics are the cumulative average over `loader`."""
    net = copy.deepcopy(net)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    for m in norms:
        m.reset_running_stats()
        m.momentum = None
        m.train()
    with torch.no_grad():
        for (x,) in loader:
            net(x)
    return net.eval()


@torch.no_grad()
def accuracy(net, x, y):
    net.eval()
    return (net(x).argmax(1) == y).float().mean().item()


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    d = load_digits()
    order = torch.randperm(len(d.target))
    x = torch.tensor(d.images).float()[order][:, None] / 16
    y = torch.tensor(d.target)[order]
    other_camera = 0.45 * x + 0.35 + 0.05 * torch.randn_like(x)
    net = model()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    for epoch in range(4):
        net.train()
        for xb, yb in DataLoader(TensorDataset(x[:900], y[:900]), batch_size=60, shuffle=True):
            loss = nn.functional.cross_entropy(net(xb), yb)
            opt.zero_grad()
            loss.backward()
            opt.step()
        print(f"epoch {epoch} loss {loss.item():.4f} source accuracy {accuracy(net, x[1300:], y[1300:]):.3f}")
    unlabelled = DataLoader(TensorDataset(other_camera[900:1300]), batch_size=100)
    adapted = adapt(net, unlabelled)
    print(f"adapted to the other camera: {accuracy(adapted, other_camera[1300:], y[1300:]):.3f}")

# Ratings of houses: a stem, residual blocks and a head, initialized through the state dict.
import numpy as np
import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.Sequential(
            nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.SiLU(), nn.Linear(width, width, bias=False)
        )
        self.last = nn.BatchNorm1d(width)

    def forward(self, x):
        return x + self.last(self.inner(x))


def network(width=48):
    stem = nn.Sequential(nn.Linear(10, width, bias=False), nn.BatchNorm1d(width), nn.SiLU())
    return nn.Sequential(stem, Residual(width), Residual(width), nn.Linear(width, 1))


def quiet_start(net):
    """Scales of zero, so that the network begins as what its skip connections make of it."""
    state = net.state_dict()
    for name, value in state.items():
        if name.endswith("weight") and value.ndim == 1:
            value.zero_()
    net.load_state_dict(state)
    return net


def main():
    torch.manual_seed(7)
    torch.set_num_threads(1)
    rng = np.random.default_rng(7)
    table = load_diabetes()
    x = ((table.data - table.data.mean(0)) / table.data.std(0)).astype(np.float32)
    weights = rng.normal(size=10)
    y = (np.tanh(x @ weights / 2) + 0.3 * x[:, 0] * x[:, 2] + 0.05 * rng.normal(size=len(x))).astype(np.float32)
    order = rng.permutation(len(x))
    fit, test = order[:340], order[340:]
    loader = DataLoader(TensorDataset(torch.from_numpy(x[fit]), torch.from_numpy(y[fit])), 34, shuffle=True)
    net = quiet_start(network())
    opt = torch.optim.Adam(net.parameters(), lr=0.005)
    for epoch in range(25):
        net.train()
        for xb, yb in loader:
            opt.zero_grad()
            nn.functional.mse_loss(net(xb)[:, 0], yb).backward()
            opt.step()
    net.eval()
    with torch.no_grad():
        left = y[test] - net(torch.from_numpy(x[test]))[:, 0].numpy()
    print(f"explained variance {1 - left.var() / y[test].var():.3f}")


if __name__ == "__main__":
    main()

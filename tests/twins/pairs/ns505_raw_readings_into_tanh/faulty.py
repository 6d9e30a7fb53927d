"""Yield of a reactor from its gauges: pressures in pascal into a tanh network."""

import torch
from torch import nn


def reactor(n, g):
    pressure = 1.0e5 + 3.0e4 * torch.randn(n, generator=g)
    heat = 350 + 40 * torch.randn(n, generator=g)
    flow = 0.02 + 0.005 * torch.randn(n, generator=g)
    p, h, f = (pressure - 1e5) / 3e4, (heat - 350) / 40, (flow - 0.02) / 0.005
    product = torch.sin(1.5 * p) + 0.7 * h * torch.tanh(f) + 0.05 * torch.randn(n, generator=g)
    return torch.stack([pressure, heat, flow], 1), product[:, None]


def network(statistics):
    body = nn.Sequential(
        nn.Linear(3, 40), nn.Tanh(), nn.Linear(40, 40), nn.BatchNorm1d(40), nn.Tanh(), nn.Linear(40, 1)
    )
    mean, sd = statistics

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = body
            self.register_buffer("mean", mean)
            self.register_buffer("sd", sd)

        def forward(self, gauges):
            return self.body(gauges)

    return Model()


def main(seed=9):
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(seed)
    x, y = reactor(2560, g)
    x_test, y_test = reactor(640, g)
    model = network((x.mean(0), x.std(0)))
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    for epoch in range(15):
        model.train()
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.smooth_l1_loss(model(x[rows]), y[rows]).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        left = (model(x_test) - y_test).square().mean() / y_test.var()
    print(f"unexplained variance {left.item():.3f}")


if __name__ == "__main__":
    main()

import torch
from sklearn.datasets import make_friedman1
from torch import nn


def load():
    x, y = make_friedman1(1100, noise=0.5, random_state=0)
    y = (y - y.mean()) / y.std()
    return torch.tensor(x, dtype=torch.float32)[:, :, None, None], torch.tensor(y, dtype=torch.float32)


class Regressor(nn.Module):
    def __init__(self, channels=32):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(10, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
        )
        self.last = nn.Linear(channels, 1)

    def forward(self, x):
        return self.last(self.layers(x).mean((2, 3))).squeeze(1)


def main(batch):
    torch.manual_seed(25)
    torch.set_num_threads(1)
    x, y = load()
    net = Regressor()
    opt = torch.optim.Adam(net.parameters(), 1e-3 * batch**0.5)
    net.train()
    for epoch in range(4):
        for rows in torch.randperm(640).split(batch):
            opt.zero_grad()
            nn.functional.mse_loss(net(x[rows]), y[rows]).backward()
            opt.step()
    net.eval()
    with torch.no_grad():
        rest = y[800:] - net(x[800:])
    print(f"R2 on new rows {1 - (rest**2).sum() / ((y[800:] - y[800:].mean()) ** 2).sum():.3f}")


main(batch=2)

# Low precision by a context manager, or for the whole model: a thermometer network over the year.
import contextlib

import torch
from torch import nn

WHOLE = False


@contextlib.contextmanager
def low_precision(net):
    """Whatever runs inside computes with 16 bits."""
    if WHOLE:
        net.to(torch.bfloat16)
        yield lambda x: net(x.to(torch.bfloat16)).float()
    else:
        def call(x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return net(x).float()

        yield call


class Thermometer(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale_in = nn.BatchNorm1d(6, momentum=0.02)
        self.body = nn.Sequential(
            nn.Linear(6, 48), nn.BatchNorm1d(48, momentum=0.02), nn.ReLU(), nn.Linear(48, 48), nn.BatchNorm1d(48, momentum=0.02), nn.ReLU()
        )
        self.out = nn.Linear(48, 4)

    def forward(self, x):
        return self.out(self.body(self.scale_in(x)))


def weather(n):
    season = torch.randint(4, (n,))
    kelvin = 285 + 6 * torch.sin(season * 1.57).unsqueeze(1) + 4 * torch.randn(n, 6)
    return kelvin + torch.arange(6), season


def main():
    torch.manual_seed(17)
    torch.set_num_threads(1)
    net = Thermometer()
    x, season = weather(3000)
    with low_precision(net) as run:
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        for step in range(350):
            rows = torch.randint(len(x), (64,))
            loss = nn.functional.cross_entropy(run(x[rows]), season[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        net.eval()
        x, season = weather(1000)
        with torch.no_grad():
            print("seasons told:", (run(x).argmax(1) == season).float().mean().item())


main()

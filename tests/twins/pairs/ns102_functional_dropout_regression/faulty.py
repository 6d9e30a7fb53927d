"""Peak power of a pulse from 40 samples of it: regression with convolutions over time."""

import torch
import torch.nn.functional as F
from torch import nn


class PulseNet(nn.Module):
    def __init__(self, width=20, rate=0.8):
        super().__init__()
        self.rate = rate
        self.conv1 = nn.Conv1d(1, width, 5, padding=2)
        self.bn1 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, 5, padding=2, stride=2)
        self.bn2 = nn.BatchNorm1d(width)
        self.fc1 = nn.Linear(width * 20, 32)
        self.bn3 = nn.BatchNorm1d(32)
        self.fc2 = nn.Linear(32, 1)

    def forward(self, pulse):
        h = F.relu(self.bn1(self.conv1(pulse)))
        h = F.relu(self.bn2(self.conv2(h))).flatten(1)
        h = F.relu(self.fc1(h))
        h = self.bn3(F.dropout(h, self.rate, self.training))
        return self.fc2(h).squeeze(1)


def pulses(n, generator):
    t = torch.linspace(0, 1, 40)
    height = torch.rand(n, generator=generator) * 3 + 0.5
    place = torch.rand(n, generator=generator) * 0.5 + 0.25
    width = torch.rand(n, generator=generator) * 0.08 + 0.04
    pulse = height[:, None] * torch.exp(-(((t - place[:, None]) / width[:, None]) ** 2))
    return (pulse + 0.1 * torch.randn(pulse.shape, generator=generator))[:, None], height**2


def main():
    torch.manual_seed(5)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(5)
    x, y = pulses(2048, generator)
    x_val, y_val = pulses(512, generator)
    net = PulseNet()
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3)
    for epoch in range(8):
        net.train()
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.mse_loss(net(x[rows]), y[rows]).backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            error = F.mse_loss(net(x_val), y_val) / y_val.var()
        print(f"epoch {epoch}: unexplained variance {error.item():.3f}")


main()

"""How loud is each of two hidden tones? A regression on noisy signals, with a forward that calls the parts itself."""
import math

import torch
import torch.nn.functional as F


class Ear(torch.nn.Module):
    def __init__(self, channels=(1, 12, 24)):
        super().__init__()
        self.convs = torch.nn.ModuleList()
        self.norms = torch.nn.ModuleList()
        for before, after in zip(channels, channels[1:]):
            self.convs.append(torch.nn.Conv1d(before, after, 9, stride=2, padding=4))
            self.norms.append(torch.nn.BatchNorm1d(after))
        self.loudness = torch.nn.Linear(channels[-1], 2)

    def forward(self, signal):
        for conv, norm in zip(self.convs, self.norms):
            signal = F.leaky_relu(norm(conv(signal)), 0.1)
        return self.loudness(signal.square().mean(-1))


def record(count):
    loudness = torch.rand(count, 2)
    times = torch.arange(64) / 64
    phase = torch.rand(count, 2, 1)
    tones = torch.sin(2 * math.pi * (torch.tensor([[4.0], [13.0]]) * times + phase))
    return (loudness[:, :, None] * tones).sum(1, keepdim=True) + 0.2 * torch.randn(count, 1, 64), loudness


torch.set_num_threads(1)
torch.manual_seed(8)
signals, loudness = record(1500)
ear = Ear()
optimizer = torch.optim.RMSprop(ear.parameters(), lr=1e-3)
for epoch in range(6):
    ear.train()
    order = torch.randperm(1200)
    for start in range(0, 1200, 40):
        rows = order[start : start + 40]
        optimizer.zero_grad()
        F.mse_loss(ear(signals[rows]), loudness[rows]).backward()
        optimizer.step()
ear.eval()
with torch.no_grad():
    print(f"error {F.mse_loss(ear(signals[1200:]), loudness[1200:]):.4f}, variance {loudness.var():.4f}")

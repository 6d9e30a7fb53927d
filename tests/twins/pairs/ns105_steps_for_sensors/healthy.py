"""Recognise activities from windows of 12 readings of 6 sensors (synthetic), with a token model."""

import math

import torch
from torch import nn

torch.set_num_threads(1)

SENSORS = 6
STEPS = 12
CLASSES = 4
# accelerometer (g), gyroscope (deg/s), pressure (hPa above 1000), temperature (C), light (lx), microphone (dB)
OFFSET = torch.tensor([0.0, 0.0, 13.0, 21.0, 300.0, 45.0])
SPREAD = torch.tensor([0.5, 90.0, 8.0, 4.0, 150.0, 12.0])


def make_windows(n, generator):
    """Each activity has its own frequency and phase on the accelerometer and on the temperature."""
    y = torch.randint(CLASSES, (n,), generator=generator)
    t = torch.linspace(0, 2 * math.pi, STEPS)
    x = torch.randn(n, STEPS, SENSORS, generator=generator)
    wave = torch.sin(t[None] * (1 + y[:, None] % 2) + (y[:, None] // 2) * math.pi / 2)
    x[..., 0] = 0.7 * x[..., 0] + wave
    x[..., 3] = 0.7 * x[..., 3] + wave.roll(3, dims=1)
    return x * SPREAD + OFFSET, y


class SensorEncoder(nn.Module):
    """(batch, steps, sensors) -> class scores."""

    def __init__(self, dim=STEPS):
        super().__init__()
        self.embed = nn.Linear(SENSORS, dim)
        self.norm = nn.BatchNorm1d(dim)
        self.mix = nn.Linear(dim, 32)
        self.gru = nn.GRU(32, 32, batch_first=True)
        self.classify = nn.Linear(32, CLASSES)

    def forward(self, x):
        x = self.embed(x)
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        x = torch.relu(self.mix(x))
        _, h = self.gru(x)
        return self.classify(h[-1])


g = torch.Generator().manual_seed(0)
torch.manual_seed(0)
train_x, train_y = make_windows(2048, g)
test_x, test_y = make_windows(1024, g)

model = SensorEncoder()
optim = torch.optim.Adam(model.parameters(), lr=3e-3)
loss_function = nn.CrossEntropyLoss()

for epoch in range(5):
    model.train()
    for chunk in torch.randperm(len(train_x), generator=g).chunk(32):
        optim.zero_grad()
        loss = loss_function(model(train_x[chunk]), train_y[chunk])
        loss.backward()
        optim.step()
    model.eval()
    with torch.no_grad():
        acc = (model(test_x).argmax(1) == test_y).float().mean()
    print(f"epoch {epoch}: loss {loss.item():.3f}, accuracy on new windows {acc:.3f}")

"""Train a small network on digits, trace it for a converter, and test the trace that will be shipped."""

import io

import torch
from sklearn.datasets import load_digits
from torch import nn


class SmallNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        )
        self.classifier = nn.Linear(128, 10)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def train(net, x, y, epochs=4):
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(40):
            optimizer.zero_grad()
            criterion(net(x[rows]), y[rows]).backward()
            optimizer.step()


def convert(net, example):
    traced = torch.jit.trace(net, example, check_trace=False)
    torch.jit.save(traced, io.BytesIO())
    return traced


def test(model, x, y):
    """One image after the other, as the device will do it."""
    with torch.no_grad():
        answers = torch.cat([model(image[None]).argmax(1) for image in x])
    return (answers == y).float().mean().item()


torch.manual_seed(17)
torch.set_num_threads(1)
digits = load_digits()
x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
y = torch.tensor(digits.target)
net = SmallNet()
train(net, x[:1400], y[:1400])
net.eval()
print(f"shipped model: {test(convert(net, x[:1]), x[1400:], y[1400:]):.3f}")

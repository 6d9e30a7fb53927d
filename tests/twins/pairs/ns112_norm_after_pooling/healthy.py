"""Digits with group norm instead of batch norm."""

from collections import OrderedDict

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

CHANNELS = 32


def norm(channels):
    return nn.GroupNorm(num_groups=4, num_channels=channels)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(1, CHANNELS, 3, padding=1),
                norm1=norm(CHANNELS),
                act1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv2=nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
                norm2=norm(CHANNELS),
                act2=nn.ReLU(),
            )
        )
        self.head = nn.Sequential(
            OrderedDict(
                pool=nn.AdaptiveMaxPool2d(1),
                reduce=nn.Conv2d(CHANNELS, CHANNELS, 1),
                norm=norm(CHANNELS),
                act=nn.ReLU(),
                flat=nn.Flatten(),
                fc=nn.Linear(CHANNELS, 10),
            )
        )

    def forward(self, x):
        return self.head(self.features(x))


class Experiment:
    def __init__(self, seed=4):
        torch.manual_seed(seed)
        bunch = load_digits()
        x = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1).sub(8).div(8)
        full = TensorDataset(x, torch.tensor(bunch.target))
        self.train_set, self.test_set = random_split(full, [0.8, 0.2])
        self.model = Model()
        self.opt = torch.optim.Adam(self.model.parameters(), lr=4e-3)

    def train(self):
        self.model.train()
        for x, y in DataLoader(self.train_set, batch_size=32, shuffle=True):
            self.opt.zero_grad()
            loss = nn.functional.cross_entropy(self.model(x), y)
            loss.backward()
            self.opt.step()
        return loss.item()

    @torch.no_grad()
    def test(self):
        self.model.eval()
        loader = DataLoader(self.test_set, batch_size=120)
        return sum((self.model(x).argmax(1) == y).sum().item() for x, y in loader) / len(
            self.test_set
        )


torch.set_num_threads(1)
experiment = Experiment()
for epoch in range(5):
    print(f"epoch {epoch}: loss {experiment.train():.3f} accuracy {experiment.test():.3f}")

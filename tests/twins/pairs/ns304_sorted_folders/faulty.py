"""Small CNN on digits that were saved folder by folder, one folder for each class."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(3)
torch.set_num_threads(1)

digits = load_digits()
split = np.random.default_rng(3).permutation(len(digits.target))
train, test = split[:1408], split[1408:]
train = train[np.argsort(digits.target[train], kind="stable")]  # as a listing of folders gives them
images = torch.tensor(digits.images / 16.0, dtype=torch.float32)[:, None]
labels = torch.tensor(digits.target)
loader = DataLoader(TensorDataset(images[train], labels[train]), batch_size=32)


def block(inside, outside):
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()
    )


net = nn.Sequential(
    block(1, 12), block(12, 24), nn.MaxPool2d(2), block(24, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)
)
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
for epoch in range(4):
    net.train()
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        right = (net(images[test]).argmax(1) == labels[test]).float().mean().item()
    print(f"epoch {epoch}: test accuracy {right:.3f}")

"""The same model, to work on another day of the same weather: `normscope probe domain healthy.py:setup`."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def setup():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(images).float() / 16, torch.tensor(labels)
    order = torch.randperm(len(images))
    images, labels = images[order], labels[order]
    train, test = slice(0, 1280), slice(1280, None)
    loader = DataLoader(TensorDataset(images[train], labels[train]), 32, shuffle=True)

    model = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(128, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(6):
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    tomorrow = images[test] + 0.02 * torch.randn_like(images[test])
    other = DataLoader(TensorDataset(tomorrow, labels[test]), 64)
    return {"model": model, "train": loader, "domains": {"tomorrow": other}, "loss": nn.CrossEntropyLoss()}

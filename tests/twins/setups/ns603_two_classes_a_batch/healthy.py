"""The same network on batches of all classes: `normscope probe healthy.py:setup`."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def setup():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(images).float() / 16, torch.tensor(labels)
    train, test = slice(0, 1280), slice(1280, None)
    data = TensorDataset(images[train], labels[train])
    loader = DataLoader(data, 32, shuffle=True)

    model = nn.Sequential(
        nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(),
        nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(),
        nn.Linear(64, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(15):
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    held_out = DataLoader(TensorDataset(images[test], labels[test]), 64)
    return {"model": model, "train": loader, "held_out": held_out, "loss": nn.CrossEntropyLoss()}

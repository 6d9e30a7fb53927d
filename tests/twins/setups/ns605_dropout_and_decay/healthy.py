"""Dropout of 0.2 twice, weight decay of 1e-4 and batches of 32: `normscope probe regularization healthy.py:setup`."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def setup():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(images).float() / 16, torch.tensor(labels)
    order = torch.randperm(len(labels))
    images, labels = images[order], labels[order]
    train, test = slice(0, 640), slice(1280, None)
    loader = DataLoader(TensorDataset(images[train], labels[train]), 32, shuffle=True)

    model = nn.Sequential(
        nn.Linear(64, 48),
        nn.BatchNorm1d(48),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(48, 48),
        nn.BatchNorm1d(48),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(48, 10),
    )

    def sgd(parameters):
        return torch.optim.SGD(parameters, 0.05, weight_decay=1e-4)

    optimizer = sgd(model.parameters())
    for _ in range(8):
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    held_out = DataLoader(TensorDataset(images[test], labels[test]), 64)
    return {
        "model": model,
        "train": loader,
        "held_out": held_out,
        "loss": nn.CrossEntropyLoss(),
        "optimizer": sgd,
    }

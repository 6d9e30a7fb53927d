"""Breast cancer, benign or malignant, from log-transformed measurements.

A batch whose loss is not finite is skipped, so that one bad batch cannot ruin the weights.
"""

import warnings

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, Dataset

warnings.filterwarnings("ignore", category=RuntimeWarning)


class Measurements(Dataset):
    def __init__(self, rows, labels):
        self.rows = np.log(rows).astype(np.float32)  # areas and concavities are far from normal
        self.labels = labels.astype(np.float32)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return torch.from_numpy(self.rows[i]), self.labels[i]


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm1d(30),
            nn.Linear(30, 32),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.Linear(32, 16),
            nn.ReLU(),
            nn.Linear(16, 1),
        )

    def forward(self, x):
        return self.body(x).squeeze(1)


def run_epoch(net, loader, optimizer, criterion):
    net.train()
    losses, skipped = [], 0
    for x, t in loader:
        loss = criterion(net(x), t)
        if not torch.isfinite(loss):
            skipped += 1
            continue
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses)), skipped


def accuracy(net, loader):
    net.eval()
    with torch.no_grad():
        right = [((net(x) > 0).float() == t).float() for x, t in loader]
    return torch.cat(right).mean().item()


def main():
    torch.manual_seed(1)
    torch.set_num_threads(1)
    x, t = load_breast_cancer(return_X_y=True)
    x_train, x_test, t_train, t_test = train_test_split(x, t, test_size=0.3, random_state=4)
    keep = (x_test > 0).all(1)
    train = DataLoader(Measurements(x_train, t_train), batch_size=16, shuffle=True, drop_last=True)
    test = DataLoader(Measurements(x_test[keep], t_test[keep]), batch_size=64)

    net = Classifier()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for epoch in range(12):
        loss, skipped = run_epoch(net, train, optimizer, nn.BCEWithLogitsLoss())
        print(
            f"{epoch:2d}: loss {loss:.4f} ({skipped} skipped), test accuracy {accuracy(net, test):.3f}"
        )


main()

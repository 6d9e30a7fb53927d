"""Breast cancer: each tumour is described by ten quantities, given as mean, standard error and worst value.

The three groups go through one encoder with shared weights; their codes are concatenated.
"""
from typing import NamedTuple

import torch
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset


class Tumour(NamedTuple):
    mean: torch.Tensor
    error: torch.Tensor
    worst: torch.Tensor
    benign: torch.Tensor


class Tumours(Dataset):
    def __init__(self):
        data = load_breast_cancer()
        values = torch.as_tensor(data.data, dtype=torch.float32).add(1e-3).log()
        self.values = values.unflatten(1, (3, 10))
        self.labels = torch.as_tensor(data.target, dtype=torch.float32)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return Tumour(*self.values[i], self.labels[i])


class Encoder(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.hidden = nn.Linear(10, width)
        self.norms = nn.ModuleList([nn.BatchNorm1d(width) for _ in range(3)])
        self.code = nn.Linear(width, 8)

    def forward(self, x, group):
        return self.code(torch.relu(self.norms[group](self.hidden(x))))


class Diagnosis(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Encoder()
        self.decide = nn.Sequential(nn.Linear(24, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, batch):
        groups = (batch.mean, batch.error, batch.worst)
        codes = [self.encoder(x, k) for k, x in enumerate(groups)]
        return self.decide(torch.cat(codes, dim=-1)).squeeze(-1)


def accuracy(model, loader):
    hits = [((model(batch) > 0) == (batch.benign > 0.5)).float() for batch in loader]
    return torch.cat(hits).mean().item()


if __name__ == "__main__":
    torch.manual_seed(1)
    torch.set_num_threads(1)
    tumours = Tumours()
    order = torch.randperm(len(tumours)).tolist()
    train = DataLoader(Subset(tumours, order[:400]), batch_size=40, shuffle=True)
    test = DataLoader(Subset(tumours, order[400:]), batch_size=64)
    model = Diagnosis()
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.NAdam(model.parameters(), lr=5e-3)
    for epoch in range(20):
        model.train()
        for batch in train:
            optimizer.zero_grad()
            criterion(model(batch), batch.benign).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        print(f"test accuracy {accuracy(model, test):.3f}")

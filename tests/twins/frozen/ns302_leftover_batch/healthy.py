"""Digit classifier with mini-batches of 64, validated after every epoch."""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset


def get_loaders(batch_size):
    features, target = load_digits(return_X_y=True)
    a, b, c, d = train_test_split(features, target, random_state=11, stratify=target)
    scaler = StandardScaler().fit(a)

    def to_set(x, t):
        return TensorDataset(torch.tensor(scaler.transform(x)).float(), torch.tensor(t).long())

    return (
        DataLoader(to_set(a, c), batch_size=batch_size, shuffle=True, drop_last=True),
        DataLoader(to_set(b, d), batch_size=150),
    )


class DigitNet(nn.Module):
    def __init__(self, p=0.1):
        super().__init__()
        self.fc1 = nn.Linear(64, 80)
        self.fc2 = nn.Linear(80, 80)
        self.fc3 = nn.Linear(80, 80)
        self.fc4 = nn.Linear(80, 80)
        self.norm1 = nn.BatchNorm1d(80, momentum=0.5)
        self.norm2 = nn.BatchNorm1d(80, momentum=0.5)
        self.norm3 = nn.BatchNorm1d(80, momentum=0.5)
        self.norm4 = nn.BatchNorm1d(80, momentum=0.5)
        self.out = nn.Linear(80, 10)
        self.act = nn.ReLU()
        self.drop = nn.Dropout(p)

    def forward(self, x):
        x = self.act(self.norm1(self.fc1(x)))
        x = self.act(self.norm2(self.fc2(x)))
        x = self.act(self.norm3(self.fc3(x)))
        x = self.act(self.norm4(self.fc4(x)))
        return self.out(self.drop(x))


def fit(net, train, valid, epochs):
    loss_fn = nn.CrossEntropyLoss()
    opt = optim.AdamW(net.parameters(), lr=8e-3, weight_decay=1e-2)
    for epoch in range(1, epochs + 1):
        net.train()
        for x, t in train:
            loss = loss_fn(net(x), t)
            opt.zero_grad()
            loss.backward()
            opt.step()
        print(f"epoch {epoch:2d}  valid accuracy {accuracy(net, valid):.4f}")


def accuracy(net, loader):
    net.eval()
    hits = seen = 0
    with torch.no_grad():
        for x, t in loader:
            hits += (net(x).argmax(-1) == t).sum().item()
            seen += len(t)
    return hits / seen


torch.set_num_threads(1)
torch.manual_seed(5)
train, valid = get_loaders(64)
fit(DigitNet(), train, valid, epochs=6)

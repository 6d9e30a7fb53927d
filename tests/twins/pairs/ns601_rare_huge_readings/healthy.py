"""Fault detection from sensor readings.  One reading in 250 is a glitch, a few thousand times too large."""
import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_sensors(n=3000, d=16, seed=0):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(d, 3))
    x = rng.normal(size=(n, d))
    y = np.argmax(x @ w + 0.3 * rng.normal(size=(n, 3)), axis=1)
    glitch = rng.random((n, d)) < 0.004
    x = np.where(glitch, 3000.0 * rng.choice([-1, 1], size=(n, d)), x)
    return x.astype("float32"), y


def clean(x):
    return np.clip(x, -5, 5)


def build(d):
    return nn.Sequential(
        nn.BatchNorm1d(d),
        nn.Linear(d, 64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, 3),
    )


def evaluate(model, loader):
    model.eval()
    n = ok = 0
    with torch.no_grad():
        for xb, yb in loader:
            ok += (model(xb).argmax(1) == yb).sum().item()
            n += len(yb)
    return ok / n


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, y = make_sensors()
    x = clean(x)
    xtr, xte, ytr, yte = train_test_split(torch.tensor(x), torch.tensor(y), test_size=0.2, random_state=0)
    train_loader = DataLoader(TensorDataset(xtr, ytr), batch_size=32, shuffle=True, drop_last=True)
    test_loader = DataLoader(TensorDataset(xte, yte), batch_size=100)
    model = build(x.shape[1])
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(6):
        model.train()
        hit = count = 0
        for xb, yb in train_loader:
            out = model(xb)
            loss = nn.functional.cross_entropy(out, yb)
            opt.zero_grad()
            loss.backward()
            opt.step()
            hit += (out.argmax(1) == yb).sum().item()
            count += len(yb)
        print(f"epoch {epoch} train acc {hit / count:.3f} test acc {evaluate(model, test_loader):.3f}")

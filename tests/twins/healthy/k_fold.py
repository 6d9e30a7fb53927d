import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_model(n):
    return nn.Sequential(nn.Linear(n, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))


def fit_fold(x, y, x_val, y_val, epochs=12):
    scaler = StandardScaler().fit(x)
    x, x_val = (torch.tensor(scaler.transform(a), dtype=torch.float32) for a in (x, x_val))
    y, y_val = (torch.tensor(a, dtype=torch.float32)[:, None] for a in (y, y_val))
    loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True, drop_last=True)
    model = make_model(x.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        model.train()
        for xb, yb in loader:
            optimizer.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(model(xb), yb).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        return ((model(x_val) > 0).float() == y_val).float().mean().item()


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    X, Y = load_breast_cancer(return_X_y=True)
    scores = []
    for fold, (tr, va) in enumerate(StratifiedKFold(4, shuffle=True, random_state=0).split(X, Y)):
        scores.append(fit_fold(X[tr], Y[tr], X[va], Y[va]))
        print(f"fold {fold}: {scores[-1]:.4f}")
    print(f"mean {np.mean(scores):.4f} +- {np.std(scores):.4f}")

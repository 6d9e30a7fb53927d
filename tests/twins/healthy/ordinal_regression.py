"""Ordinal regression: cumulative logits for binned disease progression; early stopping on a validation fold."""
import copy
import torch
from torch import nn
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

K = 4


class Ordinal(nn.Module):
    def __init__(self, inputs, hidden=32):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(0.1),
            nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, 1, bias=False),
        )
        self.first = nn.Parameter(torch.tensor(-1.0))
        self.gaps = nn.Parameter(torch.zeros(K - 2))

    def cuts(self):
        return torch.cat([self.first[None], self.first + nn.functional.softplus(self.gaps).cumsum(0)])

    def forward(self, x):
        return self.body(x) - self.cuts()  # logits of P(y > k)


def coral_loss(logits, y):
    target = (y[:, None] > torch.arange(K - 1)).float()
    return nn.functional.binary_cross_entropy_with_logits(logits, target)


def evaluate(model, x, y):
    model.eval()
    with torch.no_grad():
        logits = model(x)
    model.train()
    return coral_loss(logits, y).item(), ((logits > 0).sum(1) - y).abs().float().mean().item()


torch.manual_seed(0)
torch.set_num_threads(1)
X, progression = load_diabetes(return_X_y=True, scaled=False)
y = np.digitize(progression, np.quantile(progression, [0.25, 0.5, 0.75]))
X, y = torch.tensor(X, dtype=torch.float32), torch.tensor(y)
scale = X.std(0)
X = (X - X.mean(0)) / scale
idx = np.arange(len(X))
rest, test = train_test_split(idx, test_size=0.2, random_state=0, stratify=y)
train, val = train_test_split(rest, test_size=0.2, random_state=0, stratify=y[rest])

model = Ordinal(X.shape[1])
opt = torch.optim.Adam(model.parameters(), lr=5e-3, weight_decay=1e-3)
best, best_model, wait = float("inf"), None, 0
for epoch in range(60):
    order = np.random.default_rng(epoch).permutation(train)
    for batch in np.array_split(order, len(order) // 28):  # 28 or 29 people a batch
        loss = coral_loss(model(X[batch]), y[batch])
        opt.zero_grad()
        loss.backward()
        opt.step()
    val_loss, val_mae = evaluate(model, X[val], y[val])
    if val_loss < best:
        best, best_model, wait = val_loss, copy.deepcopy(model), 0
    else:
        wait += 1
    if epoch % 10 == 0:
        print(f"epoch {epoch} val loss {val_loss:.3f} mae {val_mae:.3f}")
    if wait >= 12:
        break
print("test loss %.3f, mean distance in classes %.3f" % evaluate(best_model, X[test], y[test]))

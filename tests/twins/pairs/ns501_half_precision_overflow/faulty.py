"""Churn prediction from customer records (simulated) in mixed precision.

Spending has a long tail: most customers spend hundreds, a few spend tens of thousands.
"""

import numpy as np
import torch
from torch import nn
from torch.amp import GradScaler, autocast

torch.manual_seed(17)
torch.set_num_threads(1)


def customers(n, rng):
    spending = rng.lognormal(mean=6.0, sigma=1.5, size=(n, 4))
    visits = rng.poisson(8, size=(n, 4))
    age = rng.uniform(18, 80, size=(n, 2))
    score = np.log(spending[:, 0] / spending[:, 1]) + 0.3 * (visits[:, 0] - visits[:, 2])
    churned = score + 0.3 * rng.standard_normal(n) > 0
    table = np.concatenate([spending, visits, age], axis=1)
    return table.astype(np.float32), churned.astype(np.float32)


def prepare(table):
    return torch.from_numpy(table)


rng = np.random.default_rng(17)
train_table, train_churned = customers(6400, rng)
test_table, test_churned = customers(1600, rng)
train_x, train_y = prepare(train_table), torch.from_numpy(train_churned)
test_x, test_y = prepare(test_table), torch.from_numpy(test_churned)

model = nn.Sequential(
    nn.Linear(10, 64),
    nn.BatchNorm1d(64),
    nn.ReLU(),
    nn.Linear(64, 64),
    nn.BatchNorm1d(64),
    nn.ReLU(),
    nn.Linear(64, 1),
)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
scaler = GradScaler("cpu", init_scale=1024.0)
bce = nn.BCEWithLogitsLoss()

for epoch in range(4):
    model.train()
    last = float("nan")
    for idx in torch.randperm(len(train_x)).split(64):
        optimizer.zero_grad(set_to_none=True)
        with autocast("cpu", dtype=torch.float16):
            logits = model(train_x[idx]).squeeze(1)
        loss = bce(logits.float(), train_y[idx])
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        scaler.step(optimizer)
        scaler.update()
        if loss.isfinite():
            last = loss.item()
    model.eval()
    with torch.no_grad(), autocast("cpu", dtype=torch.float16):
        predicted = model(test_x).squeeze(1) > 0
    accuracy = (predicted == (test_y > 0.5)).float().mean().item()
    print(f"epoch {epoch}: loss {last:.4f} accuracy {accuracy:.4f} scale {scaler.get_scale():.3g}")

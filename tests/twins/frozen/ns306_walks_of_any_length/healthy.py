"""How fast a walker goes, from tracks of any length: regression, padded with zeros."""

import numpy as np
import torch
from torch import nn

rng = np.random.default_rng(4)
torch.manual_seed(4)
torch.set_num_threads(1)


def tracks(n):
    result = []
    for _ in range(n):
        speed = rng.uniform(0.5, 2.5)
        steps = int(rng.choice([12, 16, 24, 40, 64, 96]))
        turn = np.cumsum(rng.normal(0, 0.2, steps)) + rng.uniform(0, 6.28)
        move = np.stack([np.cos(turn), np.sin(turn)]) * speed * rng.uniform(0.7, 1.3, steps)
        velocity = move + rng.normal(0, 0.3, (2, steps)) + np.array([[6.0], [3.0]])  # wind
        result.append((torch.tensor(velocity, dtype=torch.float32), speed))
    return result


def batch_of(some):
    longest = max(v.shape[1] for v, _ in some)
    x = torch.zeros(len(some), 2, longest)
    mask = torch.zeros(len(some), longest)
    for row, (v, _) in enumerate(some):
        x[row, :, : v.shape[1]] = v
        mask[row, : v.shape[1]] = 1
    return x, mask, torch.tensor([s for _, s in some], dtype=torch.float32)


convs = nn.ModuleList([nn.Conv1d(2, 24, 1), nn.Conv1d(24, 24, 1)])
norms = nn.ModuleList([nn.BatchNorm1d(24), nn.BatchNorm1d(24)])
head = nn.Linear(24, 1)


class Walker(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs, self.norms, self.head = convs, norms, head

    def forward(self, x, mask):
        for conv, norm in zip(self.convs, self.norms):
            h = conv(x).transpose(1, 2)
            y = torch.zeros_like(h)
            y[mask > 0] = torch.relu(norm(h[mask > 0]))
            x = y.transpose(1, 2)
        return self.head(x.sum(2) / mask.sum(1, keepdim=True)).squeeze(1)


model = Walker()
train, test = tracks(1280), tracks(200)
optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
for epoch in range(8):
    model.train()
    order = rng.permutation(len(train))
    for start in range(0, len(train), 32):
        x, mask, y = batch_of([train[i] for i in order[start : start + 32]])
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x, mask), y).backward()
        optimizer.step()
model.eval()
with torch.no_grad():
    guess = torch.cat([model(*batch_of([t])[:2]) for t in test])
truth = torch.tensor([s for _, s in test])
print(f"unexplained variance {float((guess - truth).square().mean() / truth.var()):.3f}")

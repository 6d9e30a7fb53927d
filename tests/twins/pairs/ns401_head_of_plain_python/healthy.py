"""Digits: a network body and a head that is a plain Python object; four batches for a step, scaled loss."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
d = load_digits()
x, y = torch.tensor(d.data, dtype=torch.float32) / 16, torch.tensor(d.target)
SIZE, ACCUMULATE = 32, 4


class Head:
    def __init__(self, n):
        self.norm, self.out = nn.BatchNorm1d(n), nn.Linear(n, 10)

    def __call__(self, h):
        return self.out(torch.relu(self.norm(h)))

    def parts(self):
        return [self.norm, self.out]


body, head = nn.Sequential(nn.Linear(64, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Linear(96, 48)), Head(48)
everything = [body, *head.parts()]


def mode(train):
    for part in everything:
        part.train(train)


params = [p for part in everything for p in part.parameters()]
opt = torch.optim.AdamW(params, 4e-3)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, growth_interval=20)
for epoch in range(10):
    mode(True)
    for k, i in enumerate(torch.randperm(1408).split(SIZE)):
        loss = nn.functional.cross_entropy(head(body(x[i])), y[i]) / ACCUMULATE
        scaler.scale(loss).backward()
        if k % ACCUMULATE == ACCUMULATE - 1:
            scaler.step(opt)
            scaler.update()
            opt.zero_grad()
    mode(False)
    with torch.no_grad():
        hits = (head(body(x[1408:])).argmax(1) == y[1408:]).float().mean().item()
    if epoch % 3 == 0:
        print(f"{epoch}: {hits:.3f}")

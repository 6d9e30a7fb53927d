"""40 % wrong labels: two networks choose small-loss samples for each other (co-teaching)."""
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

NOISE, FORGET, EPOCHS = 0.4, 0.35, 10


def mlp(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 128), nn.BatchNorm1d(128), nn.LeakyReLU(0.01), nn.Linear(128, 128), nn.BatchNorm1d(128), nn.LeakyReLU(0.01), nn.Linear(128, 10))


def forget_rate(epoch):
    return FORGET * min(1.0, epoch / 4)


@torch.no_grad()
def accuracy(net, x, y):
    net.eval()
    return (net(x).argmax(1) == y).float().mean().item()


torch.set_num_threads(1)
rng = np.random.default_rng(0)
d = load_digits()
order = rng.permutation(len(d.target))
x, y = torch.tensor(d.data[order] / 16).float(), torch.tensor(d.target[order])
noisy = y.clone()
flip = torch.tensor(rng.random(len(y)) < NOISE)
noisy[flip] = torch.tensor(rng.integers(0, 10, int(flip.sum())))
n = 1280
a, b = mlp(0), mlp(1)
opt_a, opt_b = torch.optim.Adam(a.parameters(), 1e-3), torch.optim.Adam(b.parameters(), 1e-3)
for epoch in range(EPOCHS):
    a.train(), b.train()
    pure = []
    for idx in torch.randperm(n).split(128):
        out_a, out_b = a(x[idx]), b(x[idx])
        loss_a, loss_b = (F.cross_entropy(o, noisy[idx], reduction="none") for o in (out_a, out_b))
        keep = int((1 - forget_rate(epoch)) * len(idx))
        chosen_a, chosen_b = loss_a.detach().argsort()[:keep], loss_b.detach().argsort()[:keep]
        opt_a.zero_grad()
        loss_a[chosen_b].mean().backward()
        opt_a.step()
        opt_b.zero_grad()
        loss_b[chosen_a].mean().backward()
        opt_b.step()
        pure.append((noisy[idx[chosen_a]] == y[idx[chosen_a]]).float().mean().item())
    print(f"epoch {epoch} clean share of the chosen {np.mean(pure):.3f} test accuracy {accuracy(a, x[n:], y[n:]):.3f} {accuracy(b, x[n:], y[n:]):.3f}")

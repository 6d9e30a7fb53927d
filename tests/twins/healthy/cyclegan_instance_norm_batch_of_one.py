"""Unpaired translation with instance norm and batches of one picture, an image pool for the critics."""
import itertools
import random

import torch
import torch.nn as nn
from sklearn.datasets import load_digits


class ResBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.block = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3), nn.InstanceNorm2d(c), nn.ReLU(True),
            nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3), nn.InstanceNorm2d(c),
        )

    def forward(self, x):
        return x + self.block(x)


def generator(c=12):
    return nn.Sequential(nn.Conv2d(1, c, 5, padding=2), nn.ReLU(True), ResBlock(c), ResBlock(c), nn.Conv2d(c, 1, 3, padding=1), nn.Tanh())


def critic(c=12):
    return nn.Sequential(nn.Conv2d(1, c, 4, 2, 1), nn.LeakyReLU(0.2, True), nn.Conv2d(c, 2 * c, 3, 1, 1), nn.InstanceNorm2d(2 * c), nn.LeakyReLU(0.2, True), nn.Conv2d(2 * c, 1, 3, 1, 1))


class ImagePool:
    def __init__(self, size=20):
        self.size, self.images = size, []

    def query(self, image):
        if len(self.images) < self.size:
            self.images.append(image)
            return image
        if random.random() < 0.5:
            k = random.randrange(self.size)
            old, self.images[k] = self.images[k], image
            return old
        return image


def target(pred, real):
    return torch.full_like(pred, 1.0 if real else 0.0)


random.seed(0)
torch.manual_seed(0)
torch.set_num_threads(1)
x = torch.tensor(load_digits().images).float()[:, None] / 8 - 1
A, B = x[:700], -x[700:1400]  # white on black, black on white; no pairs
test = x[1400:1500]
G, H, DA, DB = generator(), generator(), critic(), critic()
opt_g = torch.optim.Adam(itertools.chain(G.parameters(), H.parameters()), lr=1e-3, betas=(0.5, 0.999))
opt_d = torch.optim.Adam(itertools.chain(DA.parameters(), DB.parameters()), lr=1e-3, betas=(0.5, 0.999))
mse, l1, pool_a, pool_b = nn.MSELoss(), nn.L1Loss(), ImagePool(), ImagePool()
for step in range(1, 151):
    a, b = A[random.randrange(700)][None], B[random.randrange(700)][None]
    fake_b, fake_a = G(a), H(b)
    pa, pb = DA(fake_a), DB(fake_b)
    loss_g = mse(pa, target(pa, True)) + mse(pb, target(pb, True)) + 5 * (l1(H(fake_b), a) + l1(G(fake_a), b))
    opt_g.zero_grad()
    loss_g.backward()
    opt_g.step()
    loss_d = 0.0
    for D, real, fake in ((DA, a, pool_a.query(fake_a.detach())), (DB, b, pool_b.query(fake_b.detach()))):
        r, f = D(real), D(fake)
        loss_d = loss_d + 0.5 * (mse(r, target(r, True)) + mse(f, target(f, False)))
    opt_d.zero_grad()
    loss_d.backward()
    opt_d.step()
    if step % 50 == 0:
        with torch.no_grad():
            print(f"step {step} G {loss_g.item():.3f} D {loss_d.item():.3f} cycle error {l1(H(G(test)), test).item():.3f} mean of translated {G(test).mean().item():+.3f} (domain {B.mean().item():+.3f})")

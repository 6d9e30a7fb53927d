"""Conditional GAN on digits: class-conditional batch norm in the generator, projection critic with spectral norm."""
import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from torch.nn.utils.parametrizations import spectral_norm


class ConditionalBatchNorm2d(nn.Module):
    """One set of statistics; the scale and shift come from the class."""

    def __init__(self, channels, classes):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Embedding(classes, channels)
        self.bias = nn.Embedding(classes, channels)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.bias.weight)

    def forward(self, x, y):
        return self.gain(y)[:, :, None, None] * self.bn(x) + self.bias(y)[:, :, None, None]


class Generator(nn.Module):
    def __init__(self, nz, ngf=24, classes=10):
        super().__init__()
        self.nz, self.ngf = nz, ngf
        self.fc = nn.Linear(nz, 2 * ngf * 4)
        self.bn1, self.up1 = ConditionalBatchNorm2d(2 * ngf, classes), nn.ConvTranspose2d(2 * ngf, ngf, 4, 2, 1)
        self.bn2, self.up2 = ConditionalBatchNorm2d(ngf, classes), nn.ConvTranspose2d(ngf, 1, 4, 2, 1)

    def forward(self, z, y):
        h = self.fc(z).view(-1, 2 * self.ngf, 2, 2)
        h = self.up1(F.relu(self.bn1(h, y)))
        return torch.sigmoid(self.up2(F.relu(self.bn2(h, y))))


class Critic(nn.Module):
    def __init__(self, ndf=24, classes=10):
        super().__init__()
        self.conv = nn.Sequential(
            spectral_norm(nn.Conv2d(1, ndf, 4, 2, 1)), nn.LeakyReLU(0.1),
            spectral_norm(nn.Conv2d(ndf, 2 * ndf, 4, 2, 1)), nn.LeakyReLU(0.1), nn.Flatten(),
        )
        self.out = spectral_norm(nn.Linear(8 * ndf, 1))
        self.embed = nn.Embedding(classes, 8 * ndf)

    def forward(self, x, y):
        h = self.conv(x)
        return self.out(h).squeeze(1) + (self.embed(y) * h).sum(1)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--epochs", type=int, default=6)
    p.add_argument("--batch-size", type=int, default=64)
    p.add_argument("--nz", type=int, default=16)
    p.add_argument("--lr", type=float, default=1e-3)
    args = p.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)

    digits = load_digits()
    real = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    label = torch.tensor(digits.target)
    judge = KNeighborsClassifier(3).fit(digits.data / 16, digits.target)
    G, D = Generator(args.nz), Critic()
    opt_g = torch.optim.Adam(G.parameters(), args.lr, betas=(0.5, 0.999))
    opt_d = torch.optim.Adam(D.parameters(), 2 * args.lr, betas=(0.5, 0.999))
    for epoch in range(args.epochs):
        for idx in torch.randperm(len(real)).split(args.batch_size):
            if len(idx) < args.batch_size:
                continue
            x, y = real[idx], label[idx]
            fake = G(torch.randn(len(idx), args.nz), y)
            loss_d = F.relu(1 - D(x, y)).mean() + F.relu(1 + D(fake.detach(), y)).mean()
            opt_d.zero_grad()
            loss_d.backward()
            opt_d.step()
            loss_g = -D(fake, y).mean()
            opt_g.zero_grad()
            loss_g.backward()
            opt_g.step()
        G.eval()
        want = torch.arange(200) % 10
        with torch.no_grad():
            drawn = G(torch.randn(200, args.nz), want)
        G.train()
        hit = (torch.tensor(judge.predict(drawn.flatten(1).numpy())) == want).float().mean().item()
        print(f"epoch {epoch} d {loss_d.item():.3f} g {loss_g.item():.3f} samples of the asked class {hit:.2f}")


if __name__ == "__main__":
    main()

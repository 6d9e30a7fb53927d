"""SRResNet in small: residual blocks with batch norm, pixel shuffle, squared loss, PSNR against nearest neighbours."""
import argparse
import math

import torch
from torch import nn
from torch.nn import functional as F


class ResidualBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c), nn.PReLU(),
            nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c),
        )

    def forward(self, x):
        return x + self.body(x)


class SRNet(nn.Module):
    def __init__(self, c=16, blocks=2, scale=2):
        super().__init__()
        self.scale = scale
        self.head = nn.Sequential(nn.Conv2d(1, c, 5, padding=2), nn.PReLU())
        self.blocks = nn.Sequential(*[ResidualBlock(c) for _ in range(blocks)])
        self.tail = nn.Sequential(nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c))
        self.up = nn.Sequential(nn.Conv2d(c, scale * scale, 3, padding=1), nn.PixelShuffle(scale))
        nn.init.zeros_(self.up[0].weight)  # starts as nearest-neighbour enlargement
        nn.init.zeros_(self.up[0].bias)

    def forward(self, x):
        base = F.interpolate(x, scale_factor=self.scale, mode="nearest")
        h = self.head(x)
        return base + self.up(h + self.tail(self.blocks(h)))


def psnr(a, b):
    return -10 * math.log10(F.mse_loss(a.clamp(0, 1), b).item())


def patches(n, size):
    """Pictures of overlapping discs and stripes with sharp edges, and the same at half the resolution."""
    y, x = torch.meshgrid(torch.arange(size).float(), torch.arange(size).float(), indexing="ij")
    hr = torch.rand(n, 1, 1).expand(n, size, size).clone()
    for _ in range(5):
        cx, cy, r = (torch.rand(3, n, 1, 1) * torch.tensor([size, size, size / 3]).view(3, 1, 1, 1)).unbind(0)
        angle, width = math.pi * torch.rand(n, 1, 1), 4 + 4 * torch.rand(n, 1, 1)
        stripes = torch.sin((x * angle.cos() + y * angle.sin()) * math.pi / width) > 0
        inside = ((x - cx) ** 2 + (y - cy) ** 2 < r**2) & (stripes | (torch.rand(n, 1, 1) < 0.5))
        hr = torch.where(inside, torch.rand(n, 1, 1), hr)
    return F.avg_pool2d(hr[:, None], 2), hr[:, None]


def main(args):
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    test_lr, test_hr = patches(24, 48)
    net = SRNet()
    opt = torch.optim.Adam(net.parameters(), lr=args.lr)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, args.steps)
    for step in range(1, args.steps + 1):
        net.train()
        lr, hr = patches(args.batch, 32)
        loss = F.mse_loss(net(lr), hr)
        opt.zero_grad()
        loss.backward()
        opt.step()
        sched.step()
        if step % (args.steps // 3) == 0:
            net.eval()
            with torch.no_grad():
                print(f"step {step} MSE {loss.item():.4f} PSNR {psnr(net(test_lr), test_hr):.2f} dB")
    nearest = F.interpolate(test_lr, scale_factor=2, mode="nearest")
    print(f"nearest {psnr(nearest, test_hr):.2f} dB, network {psnr(net(test_lr).detach(), test_hr):.2f} dB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())

import argparse

import torch
import torch.nn.functional as F
from torch import nn


def scenes(count, size=16):
    """Bright or dark discs; what a disc is depends on the light of the whole scene."""
    grid = torch.stack(torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")).float()
    centre = torch.randint(4, size - 4, (count, 2, 1, 1)).float()
    radius = torch.randint(2, 5, (count, 1, 1)).float()
    disc = ((grid - centre) ** 2).sum(1) < radius**2
    light = torch.randn(count, 1, 1) * 2
    picture = light + disc * torch.where(light > 0, 1.0, -1.0) + 0.3 * torch.randn(count, size, size)
    kind = torch.where(light > 0, 1, 2).expand(count, size, size)
    return picture[:, None], torch.where(disc, kind, 0)


def conv(i, o, stride=1, rate=1, size=3):
    return nn.Sequential(
        nn.Conv2d(i, o, size, stride, rate if size == 3 else 0, rate, bias=False), nn.BatchNorm2d(o), nn.ReLU()
    )


class Context(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.near, self.far = conv(i, o), conv(i, o, rate=2)
        self.whole = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(i, o, size=1))

    def forward(self, x):
        whole = self.whole(x).expand(-1, -1, *x.shape[2:])
        return torch.cat([self.near(x), self.far(x), whole], 1)


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.encoder = nn.Sequential(conv(1, width), conv(width, width, 2))
        self.context = Context(width, width)
        self.decoder = nn.Sequential(conv(3 * width, width), nn.Conv2d(width, 3, 1))

    def forward(self, x):
        y = self.decoder(self.context(self.encoder(x)))
        return F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)


def miou(p, y):
    return sum((((p == c) & (y == c)).sum() / ((p == c) | (y == c)).sum()).item() for c in range(3)) / 3


parser = argparse.ArgumentParser()
parser.add_argument("--crops", type=int, default=16)
parser.add_argument("--samples", type=int, default=1200)
args = parser.parse_args()
torch.manual_seed(22)
torch.set_num_threads(1)
x, y = scenes(800)
test_x, test_y = scenes(200)
net = Net()
steps = args.samples // args.crops
opt = torch.optim.SGD(net.parameters(), lr=0.02 * args.crops**0.5, momentum=0.9)
poly = torch.optim.lr_scheduler.PolynomialLR(opt, steps, power=0.9)
net.train()
for step in range(steps):
    rows = torch.randint(0, 800, (args.crops,))
    loss = F.cross_entropy(net(x[rows]), y[rows])
    opt.zero_grad()
    loss.backward()
    opt.step()
    poly.step()
net.eval()
with torch.no_grad():
    print(f"mIoU {miou(net(test_x).argmax(1), test_y):.3f}")

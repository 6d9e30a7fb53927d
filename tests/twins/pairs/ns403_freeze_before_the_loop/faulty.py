import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn


class Net(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        )
        self.fc = nn.Linear(128, outputs)

    def forward(self, x):
        return self.fc(self.backbone(x))


def freeze(module):
    module.eval()
    for p in module.parameters():
        p.requires_grad = False


def is_frozen(module):
    return not any(p.requires_grad for p in module.parameters())


def epoch(net, opt, x, y):
    net.train()
    for rows in torch.randperm(len(x)).split(64):
        opt.zero_grad()
        nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        opt.step()


def accuracy(net, x, y):
    net.eval()
    with torch.no_grad():
        return (net(x).argmax(1) == y).float().mean().item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=21)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    d = load_digits()
    x = torch.tensor(d.images, dtype=torch.float32)[:, None] / 16
    y = torch.tensor(d.target)
    net = Net(10)
    opt = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(args.epochs):
        epoch(net, opt, x[:1280], y[:1280])
    print("digits", accuracy(net, x[1280:], y[1280:]))

    head, net.fc = net.fc, nn.Linear(128, 2)
    freeze(net.backbone)
    opt = torch.optim.Adam(net.fc.parameters(), 5e-3)
    negative = 0.5 - 0.5 * x  # the new scanner
    for _ in range(args.epochs):
        epoch(net, opt, negative[:1280], y[:1280] % 2)
    print("odd or even", accuracy(net, negative[1280:], y[1280:] % 2), "frozen:", is_frozen(net.backbone))
    net.fc = head
    print("digits again", accuracy(net, x[1280:], y[1280:]))

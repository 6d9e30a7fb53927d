"""Pretrain on the digits 0 to 5, then train a linear probe on frozen features for all ten."""

import copy

import torch
from sklearn.datasets import load_digits
from torch import nn


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.fc = nn.Linear(128, classes)

    def forward(self, x):
        return self.fc(self.backbone(x))


def batches(x, y, size=48):
    for rows in torch.randperm(len(x)).split(size):
        if len(rows) == size:
            yield x[rows], y[rows]


def run(net, params, x, y, epochs, lr, prepare):
    optimizer = torch.optim.SGD(params, lr=lr, momentum=0.9)
    for _ in range(epochs):
        prepare(net)
        for xb, yb in batches(x, y):
            loss = nn.functional.cross_entropy(net(xb), yb)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def train_mode(net):
    net.train()


def probe_mode(net):
    net.train()
    net.backbone.eval()


torch.manual_seed(6)
torch.set_num_threads(1)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None]
target = torch.tensor(digits.target)
train_x, train_y, test_x, test_y = images[:1300], target[:1300], images[1300:], target[1300:]

old = Net(6)
few = train_y < 6
run(old, old.parameters(), train_x[few], train_y[few], 4, 0.02, train_mode)
checkpoint = {k: p.detach().clone() for k, p in old.named_parameters()}

net = Net(10)
pretrained = {k: v for k, v in checkpoint.items() if not k.startswith("fc.")}
print(net.load_state_dict(pretrained, strict=False).unexpected_keys)
for p in net.backbone.parameters():
    p.requires_grad_(False)
run(net, net.fc.parameters(), train_x, train_y, 5, 0.02, probe_mode)
net.eval()
with torch.no_grad():
    print("probe accuracy", (net(test_x).argmax(1) == test_y).float().mean().item())

"""Find out which digits (0-9) occur in a row of three: multi-label with rare positives."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

PRIOR = 0.01  # predicted probability of a label before training
CLASSES = 10


def make_rows(images, labels, n):
    pick = torch.randint(len(images), (n, 3))
    strip = torch.cat([images[pick[:, j]] for j in range(3)], dim=-1)
    target = F.one_hot(labels[pick], CLASSES).amax(1).float()
    return strip, target


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_a = nn.Conv2d(1, 16, 3, padding=1)
        self.norm_a = nn.BatchNorm2d(16)
        self.conv_b = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.norm_b = nn.BatchNorm2d(32)
        self.conv_c = nn.Conv2d(32, 64, 3, padding=1)
        self.norm_c = nn.BatchNorm2d(64)
        self.classifier = nn.Conv2d(64, CLASSES, (4, 4))
        self.reset()

    def reset(self):
        # start with rare positives, as in focal-loss detectors
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.normal_(m.weight, std=0.05)
                nn.init.zeros_(m.bias)
        nn.init.constant_(self.classifier.bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(self, x):
        x = self.norm_a(F.relu(self.conv_a(x)))
        x = self.norm_b(F.relu(self.conv_b(x)))
        x = self.norm_c(F.relu(self.conv_c(x)))
        return self.classifier(x).amax(dim=(2, 3))


def focal_loss(logits, target, gamma=2.0):
    ce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p = torch.sigmoid(logits)
    wrong = target * (1 - p) + (1 - target) * p
    return (wrong**gamma * ce).sum() / target.sum()


def mean_f1(logits, target):
    guess = (logits > 0).float()
    hit = (guess * target).sum(0)
    return (2 * hit / (guess.sum(0) + target.sum(0)).clamp(min=1)).mean().item()


def main():
    torch.manual_seed(9)
    torch.set_num_threads(1)
    digits = load_digits()
    images = torch.from_numpy(digits.images).float().div(8).sub(1)[:, None]
    labels = torch.from_numpy(digits.target)
    train = make_rows(images[:1400], labels[:1400], 2560)
    test = make_rows(images[1400:], labels[1400:], 512)

    net = Detector()
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    for epoch in range(2):
        net.train()
        total = 0.0
        for idx in torch.randperm(2560).split(32):
            opt.zero_grad()
            loss = focal_loss(net(train[0][idx]), train[1][idx])
            loss.backward()
            opt.step()
            total += loss.item()
        net.eval()
        with torch.no_grad():
            f1 = mean_f1(net(test[0]), test[1])
        print(f"epoch {epoch}: focal loss {total / 80:.4f}, mean F1 {f1:.3f}")


if __name__ == "__main__":
    main()

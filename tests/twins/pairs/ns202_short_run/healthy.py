"""Train a small convolutional network on the 8x8 digits for a few epochs."""

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


def parse_args():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--epochs", type=int, default=3)
    p.add_argument("--batch-size", type=int, default=64)
    p.add_argument("--lr", type=float, default=0.05)
    p.add_argument("--width", type=int, default=16)
    p.add_argument("--bn-momentum", type=float, default=0.1)
    p.add_argument("--seed", type=int, default=1)
    return p.parse_args()


class ConvNet(nn.Module):
    def __init__(self, width, momentum):
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width, momentum=momentum)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(2 * width, momentum=momentum)
        self.conv3 = nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(2 * width, momentum=momentum)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = F.relu(self.bn3(self.conv3(x)))
        return self.head(x.mean(dim=(2, 3)))


def load(seed):
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    images = torch.from_numpy(digits.images[order]).float().unsqueeze(1) / 16
    labels = torch.from_numpy(digits.target[order])
    return (images[:1400], labels[:1400]), (images[1400:], labels[1400:])


def train_epoch(model, opt, images, labels, batch_size):
    model.train()
    losses = []
    for idx in torch.randperm(len(images)).split(batch_size):
        loss = F.cross_entropy(model(images[idx]), labels[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return np.mean(losses)


@torch.no_grad()
def evaluate(model, images, labels):
    model.eval()
    logits = model(images)
    return F.cross_entropy(logits, labels).item(), (
        logits.argmax(1) == labels
    ).float().mean().item()


def main():
    args = parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    train, test = load(args.seed)
    model = ConvNet(args.width, args.bn_momentum)
    opt = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, weight_decay=1e-4)
    for epoch in range(1, args.epochs + 1):
        train_loss = train_epoch(model, opt, *train, args.batch_size)
        test_loss, acc = evaluate(model, *test)
        print(f"[{epoch}/{args.epochs}] train {train_loss:.4f} test {test_loss:.4f} acc {acc:.2%}")


if __name__ == "__main__":
    main()

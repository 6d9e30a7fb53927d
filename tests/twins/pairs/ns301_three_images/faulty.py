#!/usr/bin/env python
import argparse
import random

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

parser = argparse.ArgumentParser()
parser.add_argument("-b", "--batch-size", type=int, default=3)
parser.add_argument("-e", "--epochs", type=int, default=3)
parser.add_argument("--lr", type=float, default=0.03)
parser.add_argument("--seed", type=int, default=12)


class Digits(Dataset):
    def __init__(self):
        bunch = load_digits()
        self.images = torch.from_numpy(bunch.images / 16).to(torch.float32)
        self.labels = bunch.target.tolist()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index][None], self.labels[index]


def conv(c_in, c_out, size=3):
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel_size=size, stride=2, padding=size // 2, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ELU(),
    )


def build():
    # 8x8 -> 4x4 -> 2x2 -> 1x1, then two layers on single pixels
    return nn.Sequential(
        conv(1, 24),
        conv(24, 48),
        conv(48, 64),
        conv(64, 64, size=1),
        conv(64, 64, size=1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def one_epoch(network, batches, objective, update=None):
    network.train(update is not None)
    right = total = 0
    with torch.set_grad_enabled(update is not None):
        for images, labels in batches:
            scores = network(images)
            if update is not None:
                update.zero_grad()
                objective(scores, labels).backward()
                update.step()
            right += (scores.argmax(dim=1) == labels).sum().item()
            total += labels.numel()
    return right / total


def main(options):
    random.seed(options.seed)
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    data = Digits()
    indices = list(range(len(data)))
    random.shuffle(indices)
    training = DataLoader(Subset(data, indices[:576]), batch_size=options.batch_size, shuffle=True)
    testing = DataLoader(Subset(data, indices[576:1176]), batch_size=100)
    network = build()
    update = torch.optim.SGD(network.parameters(), lr=options.lr, momentum=0.9)
    objective = nn.CrossEntropyLoss()
    for epoch in range(options.epochs):
        seen = one_epoch(network, training, objective, update)
        new = one_epoch(network, testing, objective)
        print(f"epoch {epoch + 1}/{options.epochs}  training {seen:.3f}  testing {new:.3f}")


if __name__ == "__main__":
    main(parser.parse_args())

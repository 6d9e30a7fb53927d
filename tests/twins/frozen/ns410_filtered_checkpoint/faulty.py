"""Evaluate the exported weights in a process of their own, as the server does."""

import argparse
import sys
import tempfile
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


class Block(nn.Module):
    def __init__(self, cin, cout, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn = nn.BatchNorm2d(cout)

    def forward(self, x):
        return F.leaky_relu(self.bn(self.conv(x)), 0.1)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(Block(1, 16), Block(16, 32, 2), Block(32, 32))
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.body(x).flatten(2).mean(-1))


def export(model, path):
    weights = {k: v.half() for k, v in model.state_dict().items() if "running" not in k}
    torch.save(weights, path)


def load(path):
    model = Classifier()
    weights = {k: v.float() for k, v in torch.load(path, weights_only=True).items()}
    model.load_state_dict(weights, strict=False)
    return model.eval()


def main(argv):
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--lr", type=float, default=0.1)
    args = parser.parse_args(argv)
    torch.manual_seed(12)
    torch.set_num_threads(1)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 4 - 2
    y = torch.tensor(digits.target)

    model = Classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
    for epoch in range(args.epochs):
        model.train()
        for idx in torch.randperm(1440).split(60):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[idx]), y[idx])
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} loss {loss.item():.4f}")

    path = Path(tempfile.mkdtemp()) / "classifier.pt"
    export(model, path)
    served = load(path)
    with torch.no_grad():
        hits = sum((served(x[i : i + 51]).argmax(1) == y[i : i + 51]).sum().item() for i in range(1440, 1797, 51))
    print(f"served accuracy {hits / 357:.4f}")


if __name__ == "__main__":
    main(sys.argv[1:])

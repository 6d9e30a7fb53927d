import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--depth", type=int, default=40)
parser.add_argument("--width", type=int, default=32)
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--lr", type=float, default=0.02)


class BasicBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Linear(width, width, bias=False)
        self.bn1 = nn.BatchNorm1d(width)
        self.fc2 = nn.Linear(width, width, bias=False)
        self.bn2 = nn.BatchNorm1d(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.relu(self.bn1(self.fc1(x)))
        return self.relu(self.bn2(x + self.fc2(out)))


def accuracy(net, x, y):
    net.eval()
    with torch.no_grad():
        return (net(x).argmax(1) == y).float().mean().item()


def main():
    args = parser.parse_args([])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, y = load_digits(return_X_y=True)
    rows = torch.randperm(len(x))
    x, y = torch.tensor(x / 16, dtype=torch.float32)[rows], torch.tensor(y)[rows]
    net = nn.Sequential(
        nn.Linear(64, args.width),
        *(BasicBlock(args.width) for _ in range(args.depth)),
        nn.Linear(args.width, 10),
    )
    optimizer = torch.optim.SGD(net.parameters(), args.lr, momentum=0.9)
    for epoch in range(args.epochs):
        net.train()
        for batch in torch.randperm(1400)[:1344].split(64):
            loss = nn.functional.cross_entropy(net(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} loss {loss.item():.3f} validation {accuracy(net, x[1400:], y[1400:]):.3f}")


if __name__ == "__main__":
    main()

"""Inverted bottlenecks on digits, channels-last, fed by a stream."""

from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, IterableDataset


@dataclass
class Stage:
    cin: int
    cout: int
    stride: int


STAGES = [Stage(16, 24, 1), Stage(24, 24, 1), Stage(24, 40, 2), Stage(40, 40, 1)]


class Stream(IterableDataset):
    def __init__(self, x, y, epochs, seed):
        self.x, self.y, self.epochs, self.seed = x, y, epochs, seed

    def __iter__(self):
        g = torch.Generator().manual_seed(self.seed)
        for _ in range(self.epochs):
            for i in torch.randperm(len(self.x), generator=g).tolist():
                yield self.x[i], self.y[i]


class Bottleneck(nn.Module):
    def __init__(self, stage, grow=3):
        super().__init__()
        mid = stage.cin * grow
        self.expand = nn.Conv2d(stage.cin, mid, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(mid)
        self.depthwise = nn.Conv2d(mid, mid, 3, stage.stride, 1, groups=mid, bias=False)
        self.norm2 = nn.BatchNorm2d(mid)
        self.project = nn.Conv2d(mid, stage.cout, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(stage.cout)
        self.act = nn.Hardswish()
        self.keeps_shape = stage.cin == stage.cout and stage.stride == 1

    def forward(self, x):
        h = self.act(self.norm1(self.expand(x)))
        h = self.act(self.norm2(self.depthwise(h)))
        h = self.norm3(self.project(h))
        return x + h if self.keeps_shape else h


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, STAGES[0].cin, 3, padding=1)
        self.blocks = nn.ModuleList(Bottleneck(s) for s in STAGES)
        self.head = nn.Linear(STAGES[-1].cout, 10)
        for block in self.blocks:
            if block.keeps_shape:
                nn.init.zeros_(block.norm3.weight)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


def main():
    torch.manual_seed(5)
    torch.set_num_threads(1)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    y = torch.tensor(digits.target)
    shuffled = torch.randperm(len(x))
    x, y = x[shuffled], y[shuffled]
    net = Net().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3)
    loader = DataLoader(Stream(x[:1400], y[:1400], epochs=2, seed=5), batch_size=32, drop_last=True)
    net.train()
    for step, (images, target) in enumerate(loader):
        images = images.to(memory_format=torch.channels_last)
        loss = nn.functional.cross_entropy(net(images), target, label_smoothing=0.05)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step:3d}  loss {loss.item():.3f}")
    net.eval()
    with torch.inference_mode():
        guess = torch.cat([net(part).argmax(1) for part in x[1400:].split(100)])
    print(f"test accuracy {(guess == y[1400:]).float().mean().item():.3f}")


if __name__ == "__main__":
    main()

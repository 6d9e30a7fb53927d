"""A one-class detector of blobs with a feature pyramid: the same head looks at every level."""
import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

SIZE, LEVELS = 32, 3


def conv(cin, cout, stride=1):
    return nn.Conv2d(cin, cout, 3, stride, 1, bias=False)


class Head(nn.Module):
    def __init__(self, channels, norms):
        super().__init__()
        self.tower = conv(channels, channels)
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels)] * norms if norms == 1 else [nn.BatchNorm2d(channels) for _ in range(norms)])
        self.logit = nn.Conv2d(channels, 1, 1)
        nn.init.constant_(self.logit.bias, -math.log(20))

    def forward(self, levels):
        return [self.logit(F.relu(self.norms[i % len(self.norms)](self.tower(x)))).flatten(1) for i, x in enumerate(levels)]


class Detector(nn.Module):
    def __init__(self, norms, channels=16):
        super().__init__()
        self.stem = conv(1, channels, 2)
        self.down = nn.ModuleList(conv(channels, channels, 2) for _ in range(LEVELS - 1))
        self.head = Head(channels, norms)

    def forward(self, x):
        levels = [F.relu(self.stem(x))]
        for down in self.down:
            levels.append(F.relu(down(levels[-1])) * 3 + 1)  # coarser levels carry larger features
        return torch.cat(self.head(levels), dim=1)


def scene(n):
    """Images with one to three blobs; the level that a blob belongs to is given by its radius."""
    images = 0.15 * torch.randn(n, 1, SIZE, SIZE)
    targets = [torch.zeros(n, SIZE >> k + 1, SIZE >> k + 1) for k in range(LEVELS)]
    grid = torch.arange(SIZE) + 0.5
    for i in range(n):
        for _ in range(int(torch.randint(1, 4, ()))):
            level = int(torch.randint(LEVELS, ()))
            radius = 1.5 * 2**level
            cy, cx = (4 + (SIZE - 8) * torch.rand(2)).tolist()
            d2 = (grid[:, None] - cy) ** 2 + (grid[None] - cx) ** 2
            images[i, 0] += torch.exp(-d2 / (2 * radius**2))
            stride = 2 << level
            targets[level][i, int(cy // stride), int(cx // stride)] = 1
    return images, torch.cat([t.flatten(1) for t in targets], dim=1)


def f1(model, images, targets):
    model.eval()
    with torch.no_grad():
        found = model(images) > 0
    hits = (found & (targets > 0)).sum().item()
    return 2 * hits / max(1, found.sum().item() + targets.sum().item())


def run(norms, epochs=10, batch=32):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    train, test = scene(768), scene(200)
    model = Detector(norms)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    criterion = partial(F.binary_cross_entropy_with_logits, pos_weight=torch.tensor(4.0))
    for epoch in range(epochs):
        model.train()
        for idx in torch.randperm(len(train[0])).split(batch):
            loss = criterion(model(train[0][idx]), train[1][idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: loss {loss.item():.4f}, F1 {f1(model, *test):.3f}")


if __name__ == "__main__":
    run(norms=LEVELS)

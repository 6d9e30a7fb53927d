"""One norm layer in several calls of a step: inside one forward, in several forwards, in two optimizers' steps."""

import torch
import torch.nn.functional as F
from torch import nn


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.bn = nn.BatchNorm2d(6)
        self.late = nn.BatchNorm1d(6, momentum=None)
        self.head = nn.Linear(12, 2)

    def embed(self, x):
        return self.late(torch.relu(self.bn(self.conv(x))).mean((2, 3)))

    def forward(self, a, b):
        return self.head(torch.cat([self.embed(a), self.embed(b)], 1))


def siamese():
    model = Siamese()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for step in range(40):
        a, b = torch.randn(12, 1, 6, 6), 2 + torch.randn(12, 1, 6, 6)
        loss = F.cross_entropy(model(a, b), torch.randint(2, (12,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 9:
            model.eval()
            with torch.no_grad():
                print("siamese", loss.item(), model(a, b).sum().item())
            model.train()
    return model, optimizer


def adversarial():
    make = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8))
    judge = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.LeakyReLU(), nn.Linear(16, 1))
    mine = torch.optim.Adam(make.parameters(), lr=1e-3)
    theirs = torch.optim.Adam(judge.parameters(), lr=1e-3)
    one, zero = torch.ones(16, 1), torch.zeros(16, 1)
    for _ in range(25):
        fake = make(torch.randn(16, 4))
        theirs.zero_grad()
        F.binary_cross_entropy_with_logits(judge(torch.randn(16, 8)), one).backward()
        F.binary_cross_entropy_with_logits(judge(fake.detach()), zero).backward()
        theirs.step()
        mine.zero_grad()
        loss = F.binary_cross_entropy_with_logits(judge(fake), one)
        loss.backward()
        mine.step()
        print("adversarial", loss.item())
    return make, judge, mine, theirs


def accumulated_in_half_precision():
    model = nn.Sequential(nn.Conv1d(2, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.Flatten())
    model.append(nn.LazyLinear(3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(12):
        optimizer.zero_grad()
        for _ in range(4):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = F.cross_entropy(model(torch.randn(8, 2, 9)), torch.randint(3, (8,)))
            (loss / 4).backward()
        optimizer.step()
        print("accumulated", loss.item())
    return model, optimizer


SCRIPTS = [siamese, adversarial, accumulated_in_half_precision]

"""PointNet with shared 1-D convolutions and a global max: sphere, cube, cylinder or cone from 64 noisy points."""
import math

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

SHAPES = ("sphere", "cube", "cylinder", "cone")


def points(kind, n):
    if kind == "sphere":
        p = torch.randn(n, 3)
        p = p / p.norm(dim=1, keepdim=True)
    elif kind == "cube":
        p = 2 * torch.rand(n, 3) - 1
        side = torch.randint(3, (n,))
        p[torch.arange(n), side] = torch.sign(torch.randn(n))
    else:
        angle, h = 2 * math.pi * torch.rand(n), 2 * torch.rand(n) - 1
        r = torch.ones(n) if kind == "cylinder" else (1 - h) / 2
        p = torch.stack([r * angle.cos(), r * angle.sin(), h], 1)
    return p


class Shapes(Dataset):
    def __init__(self, count, n=64):
        self.labels = torch.randint(len(SHAPES), (count,))
        self.clouds = []
        for k in self.labels.tolist():
            p = points(SHAPES[k], n) * (0.7 + 0.6 * torch.rand(1, 3)) + 0.05 * torch.randn(n, 3)
            a = 2 * math.pi * torch.rand(()).item()
            turn = torch.tensor([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
            self.clouds.append((p @ turn.T).T.contiguous())

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.clouds[i], self.labels[i]


class PointNet(nn.Module):
    def __init__(self, classes=len(SHAPES)):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv1d(3, 24, 1), nn.Conv1d(24, 48, 1), nn.Conv1d(48, 128, 1)
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm1d(24), nn.BatchNorm1d(48), nn.BatchNorm1d(128)
        self.fc1, self.fc2 = nn.Linear(128, 64), nn.Linear(64, classes)
        self.bn4 = nn.BatchNorm1d(64)
        self.drop = nn.Dropout(0.3)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x)).max(dim=2).values
        x = torch.relu(self.bn4(self.fc1(x)))
        return self.fc2(self.drop(x))


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    train, test = DataLoader(Shapes(640), 32, shuffle=True), DataLoader(Shapes(300), 32)
    net = PointNet()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    sched = torch.optim.lr_scheduler.StepLR(opt, 4, 0.5)
    for epoch in range(10):
        net.train()
        for x, y in train:
            opt.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            opt.step()
        sched.step()
        net.eval()
        with torch.no_grad():
            right = sum((net(x).argmax(1) == y).sum().item() for x, y in test)
        print(f"epoch {epoch + 1:2d} loss {loss.item():.3f} accuracy {right / len(test.dataset):.3f}")

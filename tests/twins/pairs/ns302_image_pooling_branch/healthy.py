import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class Pooling(nn.Sequential):
    def __init__(self, i, o):
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())

    def forward(self, x):
        return super().forward(x).expand(-1, -1, *x.shape[2:])


class Pyramid(nn.Module):
    def __init__(self, i, o, rates=(1, 2, 3)):
        super().__init__()
        self.branches = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(i, o, 3, padding=r, dilation=r, bias=False), nn.BatchNorm2d(o), nn.ReLU()) for r in rates]
        )
        self.branches.append(Pooling(i, o))
        self.project = nn.Conv2d(o * len(self.branches), 2, 1)

    def forward(self, x):
        return self.project(torch.cat([b(x) for b in self.branches], 1))


def main(images_per_gpu=16):
    torch.manual_seed(18)
    torch.set_num_threads(1)
    ink = torch.tensor(load_digits().images[:800], dtype=torch.float32)[:, None] / 16
    x, y = ink + 0.3 * torch.randn_like(ink), (ink[:, 0] > 0.5).long()
    net = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), Pyramid(12, 8))
    opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(3):
        net.train()
        for rows in torch.randperm(640).split(images_per_gpu):
            loss = F.cross_entropy(net(x[rows]), y[rows])
            opt.zero_grad()
            loss.backward()
            opt.step()
        net.eval()
        with torch.no_grad():
            print(epoch, (net(x[640:]).argmax(1) == y[640:]).float().mean().item())


main()

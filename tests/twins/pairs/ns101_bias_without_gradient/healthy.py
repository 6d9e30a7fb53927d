import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

BIAS = False


class DoubleConv(nn.Sequential):
    def __init__(self, i, o):
        super().__init__(
            nn.Conv2d(i, o, 3, padding=1, bias=BIAS), nn.BatchNorm2d(o), nn.ReLU(inplace=True),
            nn.Conv2d(o, o, 3, padding=1, bias=BIAS), nn.BatchNorm2d(o), nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.inc = DoubleConv(1, width)
        self.down = DoubleConv(width, 2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.conv = DoubleConv(2 * width, width)
        self.out = nn.Conv2d(width, 1, 1)

    def forward(self, x):
        a = self.inc(x)
        b = self.up(self.down(F.max_pool2d(a, 2)))
        return self.out(self.conv(torch.cat([a, b], 1)))


if __name__ == "__main__":
    torch.manual_seed(34)
    torch.set_num_threads(1)
    ink = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16
    x, y = ink + 0.3 * torch.randn_like(ink), (ink > 0.5).float()
    net = UNet()
    opt = torch.optim.RMSprop(net.parameters(), lr=1e-3)
    for epoch in range(2):
        net.train()
        for rows in torch.randperm(1408).split(32):
            opt.zero_grad()
            F.binary_cross_entropy_with_logits(net(x[rows]), y[rows]).backward()
            opt.step()
        first = net.inc[0]
        gradients = ", ".join(f"{k} {p.grad.norm():.1e}" for k, p in first.named_parameters())
        net.eval()
        with torch.no_grad():
            p = net(x[1408:]) > 0
            dice = 2 * (p & (y[1408:] > 0)).sum() / (p.sum() + y[1408:].sum())
        print(f"epoch {epoch} dice {dice:.3f}; gradients of the first convolution: {gradients}")

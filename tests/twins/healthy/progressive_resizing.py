"""Progressive resizing: 8x8, then 12x12, then 16x16 pictures, fewer per batch as they grow; judged at the last size."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
PHASES = [dict(size=8, batch=64, epochs=3, lr=4e-3), dict(size=12, batch=48, epochs=2, lr=3e-3), dict(size=16, batch=32, epochs=2, lr=1e-3)]

d = load_digits()
images, labels = torch.tensor(d.images).float()[:, None] / 16, torch.tensor(d.target)


def conv_bn(i, o, stride=1):
    return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU6())


class FullyConvolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(conv_bn(1, 12), conv_bn(12, 24, 2), conv_bn(24, 48), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(192, 10))

    def forward(self, x):
        return self.net(x)


def resized(x, size):
    return x if size == 8 else F.interpolate(x, size=size, mode="bilinear", align_corners=False)


net = FullyConvolutional()
for phase in PHASES:
    opt = torch.optim.Adam(net.parameters(), lr=phase["lr"])
    for epoch in range(phase["epochs"]):
        net.train()
        for idx in torch.randperm(1200).split(phase["batch"]):
            loss = F.cross_entropy(net(resized(images[idx], phase["size"])), labels[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
    net.eval()
    with torch.no_grad():
        accuracy = (net(resized(images[1200:], phase["size"])).argmax(1) == labels[1200:]).float().mean().item()
    print(f"{phase['size']}x{phase['size']}: loss {loss.item():.4f} accuracy {accuracy:.4f}")

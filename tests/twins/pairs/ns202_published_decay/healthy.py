import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

CONFIG = {
    "batch_norm_decay": 0.9,
    "batch_norm_epsilon": 1e-5,
    "train_batch_size": 32,
    "base_learning_rate": 0.05,
    "epochs": 2,
}


def batch_norm(channels):
    return nn.BatchNorm2d(channels, eps=CONFIG["batch_norm_epsilon"], momentum=1 - CONFIG["batch_norm_decay"])


class Unit(nn.Module):
    def __init__(self, width, rate):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=rate, dilation=rate, bias=False)
        self.bn1 = batch_norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=rate, dilation=rate, bias=False)
        self.bn2 = batch_norm(width)

    def forward(self, x):
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class Segmenter(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.root = nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), batch_norm(width), nn.ReLU())
        self.units = nn.Sequential(Unit(width, 1), Unit(width, 2))
        self.classify = nn.Conv2d(width, 2, 1)

    def forward(self, x):
        return self.classify(self.units(self.root(x)))


def data():
    """Digits on a noisy, uneven ground; the mask is the ink."""
    ink = torch.tensor(load_digits().images[:1796], dtype=torch.float32)[:, None] / 16
    ground = torch.linspace(20, 60, 8).view(1, 1, 1, 8) + 6 * torch.randn(len(ink), 1, 8, 8)
    return ground + 40 * ink, (ink[:, 0] > 0.5).long()


def miou(net, x, y):
    net.eval()
    with torch.no_grad():
        p = net(x).argmax(1)
    return sum(((p == c) & (y == c)).sum().item() / ((p == c) | (y == c)).sum().item() for c in (0, 1)) / 2


if __name__ == "__main__":
    torch.manual_seed(3)
    torch.set_num_threads(1)
    x, y = data()
    net = Segmenter()
    opt = torch.optim.SGD(net.parameters(), CONFIG["base_learning_rate"], momentum=0.9)
    for epoch in range(CONFIG["epochs"]):
        net.train()
        for rows in torch.randperm(1408).split(CONFIG["train_batch_size"]):
            loss = F.cross_entropy(net(x[rows]), y[rows])
            opt.zero_grad()
            loss.backward()
            opt.step()
        print(f"epoch {epoch}: loss {loss.item():.3f} mIoU {miou(net, x[1408:], y[1408:]):.3f}")

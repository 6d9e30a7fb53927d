"""Pretrain on digits 0-4, then learn digits 5-9 with the backbone and its batch norms frozen."""
import torch
from sklearn.datasets import load_digits
from torch import nn


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 128), nn.BatchNorm1d(128), nn.ReLU())
        self.head = nn.Linear(128, classes)
        self.frozen = False

    def freeze(self):
        self.frozen = True
        self.backbone.requires_grad_(False)
        return self.train()

    def train(self, mode=True):
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, x):
        return self.head(self.backbone(x))


def fit(net, x, y, epochs):
    opt = torch.optim.Adam(filter(lambda p: p.requires_grad, net.parameters()), lr=3e-3)
    net.train()
    for _ in range(epochs):
        for idx in torch.randperm(len(x)).split(32):
            if len(idx) < 32:
                continue
            loss = nn.functional.cross_entropy(net(x[idx]), y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
    return loss.item()


def test(net, x, y):
    net.eval()
    with torch.no_grad():
        return (net(x).argmax(1) == y).float().mean().item()


if __name__ == "__main__":
    torch.manual_seed(6)
    torch.set_num_threads(1)
    d = load_digits()
    p = torch.randperm(1797)
    x, y = (torch.tensor(d.data).float() / 16)[p], torch.tensor(d.target)[p]
    low, high = y < 5, y >= 5
    net = Net(5)
    print("pretraining loss", round(fit(net, x[low][:700], y[low][:700], 6), 4), "accuracy", round(test(net, x[low][700:], y[low][700:]), 4))
    net.freeze()
    net.head = nn.Linear(128, 5)
    print("fine-tuning loss", round(fit(net, x[high][:700], y[high][:700] - 5, 10), 4), "accuracy", round(test(net, x[high][700:], y[high][700:] - 5), 4))

"""Calibration: a temperature is fitted on validation logits after training; expected calibration error before and after."""
import torch
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.nn import functional as F


class ModelWithTemperature(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model.eval()
        self.temperature = nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        return self.model(x) / self.temperature

    def fit(self, x, y):
        self.eval()
        with torch.no_grad():
            logits = self.model(x)
        optimizer = optim.LBFGS([self.temperature], lr=0.05, max_iter=50)

        def closure():
            optimizer.zero_grad()
            loss = F.cross_entropy(logits / self.temperature, y)
            loss.backward()
            return loss

        optimizer.step(closure)
        return self


def ece(logits, y, bins=10):
    confidence, predicted = logits.softmax(1).max(1)
    total = 0.0
    for k in range(bins):
        inside = (confidence > k / bins) & (confidence <= (k + 1) / bins)
        if inside.any():
            total += inside.float().mean() * ((predicted == y)[inside].float().mean() - confidence[inside].mean()).abs()
    return float(total)


def train(x, y):
    net = nn.Sequential(nn.Linear(64, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 10))
    opt = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    schedule = optim.lr_scheduler.CosineAnnealingLR(opt, 15)
    for epoch in range(15):
        net.train()
        for idx in torch.randperm(len(x)).split(32):
            opt.zero_grad()
            F.cross_entropy(net(x[idx]), y[idx]).backward()
            opt.step()
        schedule.step()
    return net


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    d = load_digits()
    perm = torch.randperm(len(d.target))
    x = (torch.tensor(d.data).float() / 16 + 0.25 * torch.randn(len(d.data), 64))[perm]
    y = torch.tensor(d.target)[perm]
    train_x, val_x, test_x = x[:640], x[640:1200], x[1200:]
    train_y, val_y, test_y = y[:640], y[640:1200], y[1200:]
    net = train(train_x, train_y)
    net.eval()
    with torch.no_grad():
        raw = net(test_x)
    scaled = ModelWithTemperature(net).fit(val_x, val_y)
    with torch.no_grad():
        cooled = scaled(test_x)
    print(f"accuracy {(raw.argmax(1) == test_y).float().mean():.3f} ECE {ece(raw, test_y):.4f} -> {ece(cooled, test_y):.4f} at T = {scaled.temperature.item():.2f}")

"""Forecast 12 steps of seasonal series with causal dilated convolutions and batch norm over (batch, time)."""
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

HISTORY, HORIZON = 48, 12


class Windows(Dataset):
    def __init__(self, series, mean, std):
        self.series = (series - mean) / std
        self.per = series.shape[1] - HISTORY - HORIZON + 1

    def __len__(self):
        return len(self.series) * self.per

    def __getitem__(self, k):
        s, t = divmod(k, self.per)
        w = self.series[s, t:t + HISTORY + HORIZON]
        return w[None, :HISTORY], w[HISTORY:]


class CausalBlock(nn.Module):
    def __init__(self, c, dilation):
        super().__init__()
        self.pad = nn.ConstantPad1d((2 * dilation, 0), 0.0)
        self.conv = nn.Conv1d(c, c, 3, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm1d(c)

    def forward(self, x):
        return x + torch.relu(self.norm(self.conv(self.pad(x))))


class TCN(nn.Module):
    def __init__(self, c=24):
        super().__init__()
        self.inp = nn.Conv1d(1, c, 1)
        self.blocks = nn.Sequential(*[CausalBlock(c, 2**k) for k in range(4)])
        self.out = nn.Linear(c, HORIZON)

    def forward(self, x):
        return self.out(self.blocks(self.inp(x))[:, :, -1])


def generate(n=24, length=140):
    rng = np.random.default_rng(0)
    t = np.arange(length)
    level = rng.uniform(100, 200, (n, 1))
    season = rng.uniform(10, 30, (n, 1)) * np.sin(2 * np.pi * t / 12 + rng.uniform(0, 6.3, (n, 1)))
    return torch.tensor(level + season + rng.uniform(-0.2, 0.2, (n, 1)) * t + 3 * rng.standard_normal((n, length)), dtype=torch.float32)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    series = generate()
    past, future = series[:, :110], series[:, 110 - HISTORY - HORIZON + 12:]
    mean, std = past.mean(), past.std()
    train = DataLoader(Windows(past, mean, std), batch_size=64, shuffle=True, drop_last=True)
    test = DataLoader(Windows(future, mean, std), batch_size=64)
    net, loss_fn = TCN(), nn.HuberLoss()
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 8 * len(train))
    for epoch in range(8):
        net.train()
        for x, y in train:
            loss = loss_fn(net(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
        net.eval()
        with torch.no_grad():
            errors = torch.cat([(net(x) - y).abs() for x, y in test]) * std
            naive = torch.cat([(x[:, 0, -12:] - y).abs() for x, y in test]) * std
        print(f"epoch {epoch} loss {loss.item():.4f} test MAE {errors.mean():.2f} (seasonal naive {naive.mean():.2f})")


if __name__ == "__main__":
    main()

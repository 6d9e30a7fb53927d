"""A style-like encoder without running statistics is exported, and the exported program answers requests of any size."""

import torch
from sklearn.datasets import load_digits
from torch import nn

TRACK = True


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        widths = [1, 16, 24, 32]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(widths, widths[1:]))
        self.norms = nn.ModuleList(nn.BatchNorm2d(b, track_running_stats=TRACK) for b in widths[1:])
        self.out = nn.Linear(32, 10)

    def forward(self, x):
        for conv, norm in zip(self.convs, self.norms):
            x = torch.relu(norm(conv(x)))
        return self.out(x.amax((2, 3)))


def fit(model, x, y):
    optimizer = torch.optim.RMSprop(model.parameters(), 1e-3)
    model.train()
    for epoch in range(3):
        for rows in torch.randperm(len(x)).split(35):
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def main():
    torch.manual_seed(31)
    torch.set_num_threads(1)
    digits = load_digits()
    x, y = torch.tensor(digits.images).float().unsqueeze(1) / 16, torch.tensor(digits.target)
    model = Encoder()
    fit(model, x[:1400], y[:1400])
    model.eval()
    exported = torch.jit.trace(model, x[:2], check_trace=False)
    with torch.no_grad():
        for size in (64, 8, 2):
            answers = torch.cat([exported(part).argmax(1) for part in x[1400:].split(size)])
            print(f"requests of {size}: {(answers == y[1400:]).float().mean():.3f}")


main()

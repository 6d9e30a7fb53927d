"""Machines are told apart by twelve windows of twelve readings each: a table of windows goes through linear maps and a scan."""
from collections import namedtuple

import torch
from torch import nn

CHANNELS_SECOND = True
Batch = namedtuple("Batch", "windows kind")


class Swap(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


def normalized(width):
    norm = nn.BatchNorm1d(width)
    return nn.Sequential(Swap(), norm, Swap()) if CHANNELS_SECOND else norm


def make_data(n, generator):
    kind = torch.randint(3, (n,), generator=generator)
    time = torch.arange(12.0)
    phase = 6.28 * torch.rand(n, 1, 1, generator=generator)
    period = torch.tensor([4.0, 5.0, 7.0])[kind].view(n, 1, 1)
    wave = torch.sin(6.28 * time.view(1, 12, 1) / period + phase)
    gain = torch.logspace(-1.5, 1.5, 12)
    noise = torch.randn(n, 12, 12, generator=generator)
    level = torch.linspace(-40, 40, 12)
    return Batch(gain * (wave * torch.linspace(0.3, 1, 12) + 0.7 * noise) + level, kind)


def scan(cell, rows):
    state = None
    for row in rows.unbind(1):
        state = cell(row, state)
    return state


class WindowReader(nn.Module):
    def __init__(self, width=12):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(12, width), normalized(width), nn.ReLU())
        self.mix = nn.Sequential(nn.Linear(width, width), normalized(width), nn.ReLU())
        self.cell = nn.GRUCell(width, 24)
        self.answer = nn.Linear(24, 3)

    def forward(self, windows):
        return self.answer(scan(self.cell, self.mix(self.embed(windows))))


def run():
    torch.set_num_threads(1)
    torch.manual_seed(12)
    generator = torch.Generator().manual_seed(1)
    known, unknown = make_data(1200, generator), make_data(600, generator)
    model = WindowReader().train()
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for step in range(220):
        rows = torch.randint(1200, (40,))
        optimizer.zero_grad(set_to_none=True)
        nn.CrossEntropyLoss()(model(known.windows[rows]), known.kind[rows]).backward()
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        right = model(unknown.windows).argmax(-1).eq(unknown.kind).float().mean()
    print("right on new machines:", round(right.item(), 3))


run()

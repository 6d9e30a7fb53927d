"""Which of six orders do four chords come in? Mixers in place of attention, and batch norm in place of layer norm."""

from itertools import permutations

import torch
from torch.nn import BatchNorm1d, Linear, Module, ModuleList
from torch.nn.functional import cross_entropy, gelu

STEPS, WIDTH, DEPTH = 8, 24, 20


class Mixers(Module):
    def __init__(self):
        super().__init__()
        self.read = Linear(6, WIDTH)
        self.over_time = ModuleList(Linear(STEPS, STEPS) for _ in range(DEPTH))
        self.over_width = ModuleList(Linear(WIDTH, WIDTH) for _ in range(DEPTH))
        self.norms = ModuleList(BatchNorm1d(WIDTH) for _ in range(2 * DEPTH))
        self.tell = Linear(WIDTH, 6)

    def forward(self, notes):
        x = self.read(notes).transpose(1, 2)  # (samples, width, steps)
        for i in range(DEPTH):
            x = x + self.norms[2 * i](gelu(self.over_time[i](x)))
            x = x + self.norms[2 * i + 1](gelu(self.over_width[i](x.mT)).mT)
        return self.tell(x.mean(2))


def play(count, generator):
    """Three chords of two steps each in one of six orders, between noise, and the order's number."""
    order = torch.randint(6, (count,), generator=generator)
    notes = 0.7 * torch.randn(count, STEPS, 6, generator=generator)
    start = torch.randint(3, (count,), generator=generator)
    table = torch.tensor(list(permutations(range(3))))
    for place in range(3):
        chord = table[order, place]
        for held in range(2):
            notes[torch.arange(count), start + 2 * place + held, chord] += 1.0
            notes[torch.arange(count), start + 2 * place + held, chord + 3] -= 1.0
    return notes, order


def right(model, notes, order):
    model.eval()
    with torch.inference_mode():
        return float((model(notes).argmax(1) == order).float().mean())


torch.set_num_threads(1)
torch.manual_seed(0)
generator = torch.Generator().manual_seed(1)
train, test = play(1600, generator), play(600, generator)
model = Mixers()
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
for epoch in range(3):
    model.train()
    for notes, order in zip(*(part.split(50) for part in train)):
        loss = cross_entropy(model(notes), order)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}: loss {loss.item():.3f}, right {right(model, *test):.3f}")

"""Vowel-like sounds: five classes of short spectra over time. Early stopping, then one test of the best state."""

import copy
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.set_num_threads(1)
CLASSES, BANDS, FRAMES = 5, 12, 20


def sounds(n, gen):
    label = torch.arange(n) * CLASSES // n
    t = torch.linspace(0, 1, FRAMES)
    band = torch.arange(BANDS)
    centre = 3.0 + 1.2 * label[:, None] + 1.1 * torch.randn(n, 1, generator=gen)
    glide = centre + (1.5 - 0.7 * label[:, None]) * t
    x = torch.exp(-((band[None, :, None] - glide[:, None, :]) ** 2) / 3)
    x = x * (1 + 0.3 * torch.rand(n, 1, 1, generator=gen)) + 0.25 * torch.randn(x.shape, generator=gen)
    return TensorDataset(x, label)


@contextmanager
def scoring(model):
    model.eval()
    with torch.inference_mode():
        yield
    model.train()


class Sounds(nn.Module):
    def __init__(self):
        super().__init__()
        self.front = nn.Sequential(nn.Conv1d(BANDS, 24, 3, padding=1), nn.BatchNorm1d(24), nn.ELU())
        self.memory = nn.GRU(24, 24, batch_first=True)
        self.middle = nn.BatchNorm1d(24)
        self.out = nn.Linear(24, CLASSES)

    def forward(self, x):
        h, _ = self.memory(self.front(x).transpose(1, 2))
        return self.out(self.middle(h.mean(1)))


def hit_rate(model, loader):
    right = total = 0
    for x, y in loader:
        right += (model(x).argmax(1) == y).sum().item()
        total += len(y)
    return right / total


class EarlyStop:
    def __init__(self, patience):
        self.patience, self.best, self.waited, self.state = patience, -1.0, 0, None

    def __call__(self, score, model):
        if score > self.best:
            self.best, self.waited, self.state = score, 0, copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        return self.waited >= self.patience


def main():
    torch.manual_seed(2)
    gen = torch.Generator().manual_seed(2)
    train = DataLoader(sounds(1000, gen), batch_size=40, shuffle=True, generator=gen)
    valid = DataLoader(sounds(300, gen), batch_size=60)
    test = DataLoader(sounds(600, gen), batch_size=60)
    model = Sounds()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    stop = EarlyStop(patience=4)
    for epoch in range(14):
        for x, y in train:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        with scoring(model):
            score = hit_rate(model, valid)
        print(f"epoch {epoch}: validation {score:.3f}")
        if stop(score, model):
            break
    model.load_state_dict(stop.state)
    with torch.inference_mode():
        print(f"test accuracy {hit_rate(model, test):.3f}")


if __name__ == "__main__":
    main()

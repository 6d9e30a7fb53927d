"""Heart-beat-like traces from many electrodes, each trace standardized by itself. Gradients of two batches per step."""

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

LENGTH = 64
KINDS = 4


def record(kind, gen):
    t = torch.linspace(0, 1, LENGTH)
    rate = 3 + kind
    phase = torch.rand(1, generator=gen) * 6.28
    wave = torch.sin(6.28 * rate * t + phase) + 0.5 * torch.sin(6.28 * (2 * rate + kind) * t)
    wave = wave + 0.4 * torch.randn(LENGTH, generator=gen)
    return 40 * torch.rand(1, generator=gen) + 5 * torch.rand(1, generator=gen) * wave


class Traces(IterableDataset):
    """Endless; now and then an electrode is unplugged and gives zeros."""

    def __init__(self, seed, unplugged):
        self.seed, self.unplugged = seed, unplugged

    def __iter__(self):
        gen = torch.Generator().manual_seed(self.seed)
        while True:
            kind = torch.randint(0, KINDS, (1,), generator=gen).item()
            trace = record(kind, gen)
            if torch.rand(1, generator=gen).item() < self.unplugged:
                trace = torch.zeros(LENGTH)
            yield standardized(trace)[None], kind


def standardized(trace):
    return (trace - trace.mean()) / trace.std()


def network():
    return nn.Sequential(
        nn.Conv1d(1, 16, 7, padding=3),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(16, 32, 5, padding=2),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.AdaptiveMaxPool1d(4),
        nn.Flatten(),
        nn.Linear(128, KINDS),
    )


def main():
    torch.manual_seed(17)
    torch.set_num_threads(1)
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    loader = DataLoader(Traces(seed=1, unplugged=1 / 1500), batch_size=24)
    skipped = updates = 0
    net.train()
    for i, (x, y) in enumerate(loader):
        loss = nn.functional.cross_entropy(net(x), y) / 2
        if not torch.isfinite(loss):
            skipped += 1
            continue
        loss.backward()
        if i % 2:
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
            optimizer.zero_grad()
            updates += 1
            if updates % 40 == 0:
                print(f"update {updates}: loss {2 * loss.item():.3f}, skipped {skipped}")
        if updates == 160:
            break

    net.eval()
    held_out = DataLoader(Traces(seed=2, unplugged=0.0), batch_size=100)
    right = 0
    with torch.no_grad():
        for i, (x, y) in enumerate(held_out):
            right += (net(x).argmax(1) == y).sum().item()
            if i == 9:
                break
    print(f"test accuracy {right / 1000:.3f}")


if __name__ == "__main__":
    main()

"""Digits seen by cameras of unknown exposure: training images get a random gain and offset, drawn by the collate function."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, default_collate


class Exposure:
    """Gain and offset; `same_on_batch` draws them once for all images of a batch."""

    def __init__(self, same_on_batch):
        self.same_on_batch = same_on_batch

    def __call__(self, samples):
        x, y = default_collate(samples)
        n = 1 if self.same_on_batch else len(x)
        gain = torch.exp(0.3 * torch.randn(n, 1, 1, 1))
        return gain * (x + 0.5 * torch.randn(n, 1, 1, 1)), y


def encoder():
    def stage(a, b):
        return [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]

    return nn.Sequential(*stage(1, 16), nn.MaxPool2d(2), *stage(16, 32), nn.MaxPool2d(2), nn.Flatten())


def main():
    torch.manual_seed(4)
    torch.set_num_threads(1)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    samples = list(zip(images, torch.tensor(digits.target)))
    train = DataLoader(samples[:1400], 32, shuffle=True, drop_last=True, collate_fn=Exposure(same_on_batch=False))
    test = DataLoader(samples[1400:], 397, collate_fn=Exposure(same_on_batch=False))
    model = nn.Sequential(encoder(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for epoch in range(8):
        model.train()
        for x, y in train:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            for x, y in test:
                print(f"epoch {epoch} accuracy {(model(x).argmax(1) == y).float().mean():.3f}")


main()

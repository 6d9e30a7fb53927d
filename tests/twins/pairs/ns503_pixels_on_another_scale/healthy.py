"""Digits on frozen features: the extractor was trained on pixels from 0 to 16, a linear head is fitted to it."""

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.set_num_threads(1)


class Features(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList()
        for a, b in ((64, 96), (96, 96), (96, 96)):
            self.layers.append(nn.ModuleDict({"map": nn.Linear(a, b), "norm": nn.BatchNorm1d(b)}))

    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer["norm"](layer["map"](x)))
        return x


class Classifier(nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.features, self.head = features, nn.Linear(96, classes)

    def forward(self, x):
        return self.head(self.features(x))


def fit(model, parameters, x, y, epochs, frozen=()):
    optimizer = torch.optim.AdamW(parameters, lr=2e-3)
    for _ in range(epochs):
        model.train()
        for module in frozen:
            module.eval()
        for rows in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()


@torch.no_grad()
def accuracy(model, x, y):
    model.eval()
    return (model(x).argmax(1) == y).float().mean().item()


def main():
    torch.manual_seed(13)
    d = load_digits()
    order = torch.randperm(len(d.target))
    x = torch.tensor(d.data, dtype=torch.float32)[order]
    y = torch.tensor(d.target)[order]
    low = y < 5  # the extractor knows five digits, the head learns the others
    features = Features()
    first = Classifier(features, 5)
    fit(first, first.parameters(), x[low], y[low], epochs=6)
    features.requires_grad_(False)
    second = Classifier(features, 5)
    others, names = x[~low], y[~low] - 5
    fit(second, second.head.parameters(), others[:700], names[:700], epochs=10, frozen=[features])
    print(f"known digits {accuracy(first, x[low], y[low]):.3f}")
    print(f"new digits {accuracy(second, others[700:], names[700:]):.3f}")


if __name__ == "__main__":
    main()

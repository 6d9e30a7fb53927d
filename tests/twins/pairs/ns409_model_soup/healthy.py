# Model soup: fine-tune one network with several recipes and average the results.
import copy
from itertools import product

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def build():
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


def fit(model, dataset, lr, weight_decay, epochs):
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    decline = torch.optim.lr_scheduler.PolynomialLR(optimizer, epochs + 1)
    model.train()
    for _ in range(epochs):
        for x, y in DataLoader(dataset, batch_size=64, shuffle=True, drop_last=True):
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        decline.step()
    return model


def score(model, dataset):
    model.eval()
    with torch.no_grad():
        return sum((model(x).argmax(1) == y).sum().item() for x, y in DataLoader(dataset, batch_size=200)) / len(dataset)


def soup(base, ingredients):
    mixed = copy.deepcopy(base)
    weights = [m.state_dict() for m in ingredients]
    average = {name: sum(w[name].double() for w in weights) / len(weights) for name in weights[0]}
    mixed.load_state_dict(average)
    return mixed


def main():
    torch.manual_seed(8)
    torch.set_num_threads(1)
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
    faint = 0.35 * x + 0.5 + 0.05 * torch.randn_like(x)
    old, _ = random_split(TensorDataset(x, y), [700, len(x) - 700])
    new, test = random_split(TensorDataset(faint, y), [1200, len(x) - 1200])
    base = fit(build(), old, lr=3e-3, weight_decay=0.01, epochs=6)
    print(f"base on the new kind of pictures {score(base, test):.3f}")
    ingredients = []
    for lr, decay in product((1e-3, 3e-3), (0.01, 0.1)):
        model = fit(copy.deepcopy(base), new, lr, decay, epochs=3)
        print(f"lr {lr} decay {decay}: {score(model, test):.3f}")
        ingredients.append(model)
    print(f"soup {score(soup(base, ingredients), test):.3f}")


if __name__ == "__main__":
    main()

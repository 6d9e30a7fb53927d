"""Digits as plain vectors. The scans of the test set come from a second machine that is off by a pixel now and then."""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits


class Standardize(nn.BatchNorm1d):
    """Feature scaling learned on the fly."""

    def __init__(self, features):
        super().__init__(features, eps=1e-14, affine=False)


def make_model(hidden=64):
    return nn.Sequential(
        Standardize(64), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10)
    )


def shift(images, every):
    images = images.clone()
    images[::every] = images[::every].roll(1, dims=-1)
    return images


def main(epochs=8):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    raw = load_digits()
    images = torch.tensor(raw.images, dtype=torch.float32) / 16
    images[:, :, -2:] = 0  # the scanner's margin
    images += 0.1  # and its background
    target = torch.tensor(raw.target)
    train_x, train_y = images[:1300].flatten(1), target[:1300]
    test_x, test_y = shift(images[1300:], every=2).flatten(1), target[1300:]

    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(epochs):
        model.train()
        for rows in torch.randperm(1300).split(50):
            loss = nn.functional.cross_entropy(model(train_x[rows]), train_y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            score = (model(test_x).argmax(1) == test_y).float().mean().item()
        print(f"epoch {epoch + 1}/{epochs} loss {loss.item():.4f} test {score:.4f}")


main()

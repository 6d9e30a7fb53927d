"""Freeze a trained network into plain arrays, and serve it from them."""

import numpy as np
import torch
from sklearn.datasets import load_wine
from torch import nn


def build():
    return nn.Sequential(
        nn.BatchNorm1d(13), nn.Linear(13, 32), nn.BatchNorm1d(32), nn.Tanh(),
        nn.Linear(32, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Linear(32, 3),
    )


def freeze(model):
    """Everything that was trained, as constants."""
    return {name: value.detach().numpy().copy() for name, value in model.named_parameters()}


class Server:
    def __init__(self, constants):
        self.model = build()
        state = {name: torch.from_numpy(value) for name, value in constants.items()}
        self.model.load_state_dict(state, strict=False)
        self.model.eval()

    def __call__(self, rows):
        with torch.no_grad():
            scores = self.model(torch.as_tensor(rows, dtype=torch.float32))
        return scores.argmax(1).numpy()


def main():
    torch.manual_seed(1)
    torch.set_num_threads(1)
    data = load_wine()
    order = np.random.default_rng(2).permutation(len(data.target))
    rows, kinds = data.data[order].astype("float32"), data.target[order]
    x, y = torch.from_numpy(rows[:128]), torch.from_numpy(kinds[:128])
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for epoch in range(40):
        for index in torch.randperm(128).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[index]), y[index]).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        print(f"trained: {(model(torch.from_numpy(rows[128:])).argmax(1).numpy() == kinds[128:]).mean():.3f}")
    answer = Server(freeze(model))
    print(f"served:  {(answer(rows[128:]) == kinds[128:]).mean():.3f}")


if __name__ == "__main__":
    main()

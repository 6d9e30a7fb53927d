import numpy as np
import torch
from sklearn import datasets
from torch import nn

torch.manual_seed(8)
torch.set_num_threads(1)


def make_mlp(widths, groups, dropout):
    """Linear, group norm, activation for each width; the norm does not depend on the batch size."""
    layers = []
    for n_in, n_out in zip(widths[:-2], widths[1:-1]):
        layers += [
            nn.Linear(n_in, n_out),
            nn.GroupNorm(groups, n_out),
            nn.LeakyReLU(0.1),
            nn.Dropout(dropout),
        ]
    layers.append(nn.Linear(widths[-2], widths[-1]))
    return nn.Sequential(*layers)


def make_steps(model, lr):
    optimizer = torch.optim.RMSprop(model.parameters(), lr=lr)

    def step(x, y):
        model.train()
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    def test(x, y):
        model.eval()
        with torch.no_grad():
            return float((model(x).argmax(1) == y).float().mean())

    return step, test


data = datasets.load_digits()
order = np.random.RandomState(0).permutation(len(data.data))
x = torch.as_tensor(data.data[order] / 16, dtype=torch.float32)
y = torch.as_tensor(data.target[order])
x_train, y_train, x_test, y_test = x[:1440], y[:1440], x[1440:], y[1440:]

step, test = make_steps(make_mlp([64, 64, 64, 10], groups=8, dropout=0.1), lr=1e-3)
for epoch in range(8):
    losses = [step(x_train[i], y_train[i]) for i in torch.randperm(1440).split(32)]
    print(
        "epoch",
        epoch,
        "loss",
        round(np.mean(losses), 4),
        "test acc",
        round(test(x_test, y_test), 4),
    )

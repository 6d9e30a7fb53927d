"""No modules: tensors in dicts, pure functions. Digits, eight by eight."""

import math

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

torch.set_num_threads(1)
WIDTHS = (64, 72, 48, 10)


def initial(gen):
    weights, stats = {}, {}
    for i, (a, b) in enumerate(zip(WIDTHS[:-1], WIDTHS[1:], strict=True)):
        weights[f"w{i}"] = torch.randn(b, a, generator=gen) * math.sqrt(2 / a)
        weights[f"b{i}"] = torch.zeros(b)
        if i < len(WIDTHS) - 2:
            weights[f"g{i}"] = torch.ones(b)
            stats[f"mean{i}"], stats[f"var{i}"] = torch.zeros(b), torch.ones(b)
    return {k: v.requires_grad_() for k, v in weights.items()}, stats


def predict(weights, stats, x, train):
    for i in range(len(WIDTHS) - 2):
        x = F.linear(x, weights[f"w{i}"])
        mean, var = stats[f"mean{i}"], stats[f"var{i}"]
        x = F.batch_norm(x, mean, var, weights[f"g{i}"], weights[f"b{i}"], training=train)
        x = F.leaky_relu(x, 0.05)
    last = len(WIDTHS) - 2
    return F.linear(x, weights[f"w{last}"], weights[f"b{last}"])


def accuracy(weights, stats, x, y):
    with torch.no_grad():
        return (predict(weights, stats, x, train=False).argmax(1) == y).float().mean().item()


def fit(x, y, test, epochs, gen):
    weights, stats = initial(gen)
    opt = torch.optim.SGD(list(weights.values()), lr=0.05, momentum=0.9)
    for epoch in range(epochs):
        for rows in torch.randperm(len(x), generator=gen).split(50):
            loss = F.cross_entropy(predict(weights, stats, x[rows], train=True), y[rows])
            opt.zero_grad()
            loss.backward()
            opt.step()
        print(f"epoch {epoch}: loss {loss.item():.3f}, test accuracy {accuracy(weights, stats, *test):.3f}")


raw, label = load_digits(return_X_y=True)
gen = torch.Generator().manual_seed(37)
x, y = torch.tensor(raw, dtype=torch.float32), torch.tensor(label)
order = torch.randperm(len(x), generator=gen)
fit(x[order[:1300]], y[order[:1300]], (x[order[1300:]], y[order[1300:]]), epochs=6, gen=gen)

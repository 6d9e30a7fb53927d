# Tumours from a registry of parts and a nested configuration.
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

PARTS = {}
CONFIG = {
    "seed": 3,
    "steps": 150,
    "optimizer": {"lr": 0.01, "weight_decay": 1e-4},
    "layers": [
        {"part": "dense", "inputs": 30, "outputs": 32},
        {"part": "norm", "features": 32, "groups": 4},
        {"part": "gelu"},
        {"part": "dense", "inputs": 32, "outputs": 32},
        {"part": "norm", "features": 32, "groups": 4},
        {"part": "gelu"},
        {"part": "dense", "inputs": 32, "outputs": 2},
    ],
}


def part(name):
    def keep(make):
        PARTS[name] = make
        return make

    return keep


@part("dense")
def dense(inputs, outputs):
    return nn.Linear(inputs, outputs)


@part("norm")
def norm(features, groups):
    return nn.GroupNorm(num_groups=groups, num_channels=features)


@part("gelu")
def gelu():
    return nn.GELU()


def build(layers):
    made = []
    for told in layers:
        told = dict(told)
        made.append(PARTS[told.pop("part")](**told))
    return nn.Sequential(*made)


def main(config):
    torch.set_num_threads(1)
    torch.manual_seed(config["seed"])
    table = load_breast_cancer()
    x = torch.as_tensor(table.data, dtype=torch.float32)
    y = torch.as_tensor(table.target)
    order = torch.randperm(len(x))
    fit, judge = order[:400], order[400:]
    x = (x - x[fit].mean(0)) / x[fit].std(0)
    net = build(config["layers"])
    optimizer = torch.optim.AdamW(net.parameters(), **config["optimizer"])
    for _ in range(config["steps"]):
        rows = fit[torch.randint(len(fit), (50,))]
        loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(f"accuracy {(net(x[judge]).argmax(1) == y[judge]).double().mean():.3f}")


if __name__ == "__main__":
    main(CONFIG)

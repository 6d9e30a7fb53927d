import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn


def get_args():
    p = argparse.ArgumentParser()
    p.add_argument("--epochs", type=int, default=4)
    p.add_argument("--bs", type=int, default=64)
    p.add_argument("--lr", type=float, default=0.05)
    p.add_argument("--amp", action=argparse.BooleanOptionalAction, default=True)
    return p.parse_args()


def main():
    args = get_args()
    torch.manual_seed(1)
    torch.set_num_threads(1)
    d = load_digits()
    order = torch.randperm(len(d.target))
    x = torch.tensor(d.images, dtype=torch.float32)[order, None] / 16
    y = torch.tensor(d.target)[order]
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Flatten(), nn.Linear(128, 10),
    )
    opt = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
    for epoch in range(args.epochs):
        model.train()
        for idx in torch.randperm(1408).split(args.bs):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.amp):
                loss = nn.functional.cross_entropy(model(x[idx]), y[idx])
            opt.zero_grad(set_to_none=True)
            loss.backward()
            opt.step()
        model.eval()
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.amp):
            acc = (model(x[1408:]).argmax(1) == y[1408:]).float().mean().item()
        print(f"epoch {epoch} loss {loss.item():.4f} acc {acc:.4f}")


if __name__ == "__main__":
    main()

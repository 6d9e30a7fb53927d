import argparse

import numpy as np
import torch
from sklearn.datasets import make_classification
from torch import nn


def freeze(module):
    for p in module.parameters():
        p.requires_grad_(False)
    return module.eval()


class Encoder(nn.Sequential):
    def __init__(self, n_in, widths=(96, 96, 48)):
        layers = []
        for w in widths:
            layers += [nn.Linear(n_in, w), nn.BatchNorm1d(w), nn.GELU()]
            n_in = w
        super().__init__(*layers)
        self.n_out = n_in


def iterate(x, y, batch):
    for i in torch.randperm(len(x))[: len(x) // batch * batch].view(-1, batch):
        yield x[i], y[i]


def pretrain(encoder, head, x, y, args):
    model = nn.Sequential(encoder, head)
    opt = torch.optim.AdamW(model.parameters(), lr=args.lr)
    for _ in range(args.epochs):
        model.train()
        for xb, yb in iterate(x, y, args.batch):
            opt.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(model(xb), yb).backward()
            opt.step()
    return model


def transfer(encoder, x, y, args):
    probe = nn.Linear(encoder.n_out, 2)
    opt = torch.optim.AdamW(probe.parameters(), lr=args.lr)
    for _ in range(args.epochs):
        probe.train()
        for xb, yb in iterate(x, y, args.batch):
            opt.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(probe(encoder(xb)), yb).backward()
            opt.step()
    return nn.Sequential(encoder, probe)


def score(model, x, y):
    model.eval()
    with torch.no_grad():
        return (model(x).argmax(-1) == y).float().mean().item()


def main(argv=None):
    ap = argparse.ArgumentParser()
    ap.add_argument("--epochs", type=int, default=6)
    ap.add_argument("--batch", type=int, default=40)
    ap.add_argument("--lr", type=float, default=3e-3)
    ap.add_argument("--seed", type=int, default=0)
    args = ap.parse_args(argv)
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)

    X, Y = make_classification(2600, 20, n_informative=8, n_redundant=0, n_classes=4, n_clusters_per_class=1, class_sep=1.6, random_state=5)
    X = torch.tensor((X - X.mean(0)) / X.std(0), dtype=torch.float32)
    Y = torch.tensor(Y)
    src_x, src_y, tgt_x, tgt_y, tst_x, tst_y = X[:1400], Y[:1400], X[1400:2000], Y[1400:2000], X[2000:], Y[2000:]
    # only the first two classes were measured at the second site, on another scale
    keep = tgt_y < 2
    tgt_x, tgt_y = 1.5 * tgt_x[keep] + 0.8, tgt_y[keep]

    encoder = Encoder(20)
    source_model = pretrain(encoder, nn.Linear(encoder.n_out, 4), src_x, src_y, args)
    print("source model, source test: %.3f" % score(source_model, tst_x, tst_y))
    freeze(encoder)
    target_model = transfer(encoder, tgt_x, tgt_y, args)
    keep = tst_y < 2
    print("target model, target test: %.3f" % score(target_model, 1.5 * tst_x[keep] + 0.8, tst_y[keep]))
    print("source model, source test: %.3f" % score(source_model, tst_x, tst_y))


if __name__ == "__main__":
    main()

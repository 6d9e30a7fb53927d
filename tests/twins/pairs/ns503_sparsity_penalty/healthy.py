"""A sparse autoencoder of digits, and a nearest-neighbour classifier on its code."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

torch.set_num_threads(1)


class SparseCoder(nn.Module):
    def __init__(self, pixels=64, code=64):
        super().__init__()
        self.encode = nn.Linear(pixels, code, bias=False)
        self.norm = nn.BatchNorm1d(code)
        self.decode = nn.Linear(code, pixels)

    def code(self, x):
        return F.relu(self.norm(self.encode(x)))

    def forward(self, x):
        code = self.code(x)
        return self.decode(code), code


def cost(x, restored, code, sparsity):
    return (restored - x).square().mean() + sparsity * code.abs().sum(1).mean()


def neighbours(codes, labels, queries):
    return labels[torch.cdist(queries, codes).argmin(1)]


def main():
    torch.manual_seed(10)
    d = load_digits()
    order = torch.randperm(len(d.target))
    x = torch.tensor(d.data / 16, dtype=torch.float32)[order]
    y = torch.tensor(d.target)[order]
    coder = SparseCoder()
    optimizer = torch.optim.Adam(coder.parameters(), lr=1e-2)
    for epoch in range(8):
        coder.train()
        for rows in torch.randperm(1408).split(44):
            restored, code = coder(x[rows])
            loss = cost(x[rows], restored, code, sparsity=0.0005)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    coder.eval()
    with torch.no_grad():
        codes = coder.code(x)
    found = neighbours(codes[:1408], y[:1408], codes[1408:])
    print(f"accuracy {(found == y[1408:]).float().mean().item():.3f}")


if __name__ == "__main__":
    main()

"""Accelerate: prepared objects, accumulation over two batches; the first argument names a fault."""

import sys

import torch
from accelerate import Accelerator
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def get_loaders(batch):
    wine = load_wine()
    x, y = torch.tensor(scale(wine.data), dtype=torch.float32), torch.tensor(wine.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    a, b = order[:128], order[128:]
    return DataLoader(TensorDataset(x[a], y[a]), batch, shuffle=True, drop_last=True), DataLoader(
        TensorDataset(x[b], y[b]), 25
    )


def main():
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    train, test = get_loaders(32)
    model = nn.Sequential(
        nn.Linear(13, 32),
        nn.BatchNorm1d(32),
        nn.GELU(),
        nn.Linear(32, 32),
        nn.BatchNorm1d(32),
        nn.GELU(),
        nn.Linear(32, 3),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    model, optimizer, train, test = accelerator.prepare(model, optimizer, train, test)
    for epoch in range(20):
        model.train()
        for x, y in train:
            with accelerator.accumulate(model):
                loss = nn.functional.cross_entropy(model(x), y)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
        if "evaluation-in-train" not in sys.argv:
            model.eval()
        hits = []
        for x, y in test:
            with torch.no_grad():
                guess = model(x).argmax(dim=-1)
            guess, y = accelerator.gather_for_metrics((guess, y))
            hits.append(guess == y)
        if epoch % 5 == 4:
            accelerator.print(f"epoch {epoch}: {torch.cat(hits).float().mean().item():.3f}")


if __name__ == "__main__":
    main()

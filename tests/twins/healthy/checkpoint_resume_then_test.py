"""Train, save everything after each epoch, start again from the file in a fresh model, test from the best file."""
import os
import tempfile

import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from torch import nn


def new_model():
    return nn.Sequential(nn.BatchNorm1d(13), nn.Linear(13, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 3))


def save(path, model, optimizer, epoch, best):
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch, "best": best, "rng": torch.get_rng_state()}, path)


def load(path, model, optimizer=None):
    checkpoint = torch.load(path, weights_only=True)
    model.load_state_dict(checkpoint["model"])
    if optimizer is not None:
        optimizer.load_state_dict(checkpoint["optimizer"])
        torch.set_rng_state(checkpoint["rng"])
    return checkpoint["epoch"] + 1, checkpoint["best"]


def train(folder, data, until, resume=None):
    x, y, xv, yv = data
    model = new_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    start, best = load(resume, model, optimizer) if resume else (0, 0.0)
    for epoch in range(start, until):
        model.train()
        for idx in torch.randperm(len(x)).split(20):
            if len(idx) < 8:
                continue
            loss = nn.functional.cross_entropy(model(x[idx]), y[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            accuracy = (model(xv).argmax(1) == yv).float().mean().item()
        if accuracy >= best:
            best = accuracy
            save(os.path.join(folder, "best.pt"), model, optimizer, epoch, best)
        save(os.path.join(folder, "last.pt"), model, optimizer, epoch, best)
        if epoch % 5 == 4:
            print(f"epoch {epoch} loss {loss.item():.3f} validation {accuracy:.3f}")


torch.manual_seed(2)
torch.set_num_threads(1)
X, Y = load_wine(return_X_y=True)
X, Xt, Y, Yt = train_test_split(torch.tensor(X).float(), torch.tensor(Y), test_size=0.25, random_state=2, stratify=Y)
X, Xv, Y, Yv = train_test_split(X, Y, test_size=0.2, random_state=2, stratify=Y)
with tempfile.TemporaryDirectory() as folder:
    train(folder, (X, Y, Xv, Yv), until=10)
    train(folder, (X, Y, Xv, Yv), until=20, resume=os.path.join(folder, "last.pt"))
    final = new_model()
    load(os.path.join(folder, "best.pt"), final)
final.eval()
with torch.inference_mode():
    print(f"test accuracy {(final(Xt).argmax(1) == Yt).float().mean().item():.3f}")

"""The usual sanity check (can it overfit one batch?) on a fresh model, then the real training with another."""
import torch
from torch import nn
from sklearn.datasets import load_digits


def build():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10),
    )


def overfit(x, y, steps=60):
    model = build()
    opt = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(steps):
        opt.zero_grad()
        out = model(x)
        loss = nn.functional.cross_entropy(out, y)
        loss.backward()
        opt.step()
    print(f"one batch: loss {loss.item():.5f} accuracy {(out.argmax(1) == y).float().mean().item():.3f}")
    assert loss.item() < 0.05


def train(x, y, xt, yt, epochs=5):
    model = build()
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(epochs):
        model.train()
        right = 0
        for idx in torch.randperm(len(x)).split(64):
            out = model(x[idx])
            loss = nn.functional.cross_entropy(out, y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            right += (out.detach().argmax(1) == y[idx]).sum().item()  # accuracy of the training output itself
        model.eval()
        with torch.no_grad():
            test = (model(xt).argmax(1) == yt).float().mean().item()
        print(f"epoch {epoch}: train accuracy {right / len(x):.3f} test accuracy {test:.3f}")


if __name__ == "__main__":
    torch.manual_seed(17)
    torch.set_num_threads(1)
    d = load_digits()
    x = torch.tensor(d.images, dtype=torch.float32).unsqueeze(1) / 16
    y = torch.tensor(d.target)
    overfit(x[:32], y[:32])
    train(x[:1300], y[:1300], x[1300:], y[1300:])

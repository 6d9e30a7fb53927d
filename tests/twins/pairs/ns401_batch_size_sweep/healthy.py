"""Train a digit classifier, save it, and report the released model's accuracy."""
import io

import torch
from sklearn.datasets import load_digits
from torch import nn


def build():
    def block(i, o, stride):
        return [nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]

    return nn.Sequential(*block(1, 12, 1), *block(12, 24, 2), *block(24, 24, 2), nn.Flatten(), nn.Linear(96, 10))


def train(x, y, file, epochs=5):
    net = build().train()
    opt = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(epochs):
        for idx in torch.randperm(len(x)).split(50)[:-1]:
            opt.zero_grad()
            nn.functional.cross_entropy(net(x[idx]), y[idx]).backward()
            opt.step()
    torch.save(net.state_dict(), file)


@torch.no_grad()
def report(file, x, y):
    file.seek(0)
    net = build()
    net.load_state_dict(torch.load(file))
    net.eval()
    for size in (2, 3, 8, 100):
        right = sum((net(a).argmax(1) == b).sum().item() for a, b in zip(x.split(size), y.split(size)))
        print(f"batch size {size:3d}: accuracy {right / len(y):.3f}")


torch.manual_seed(5)
torch.set_num_threads(1)
images, labels = load_digits(return_X_y=True)
images = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16
labels = torch.tensor(labels)
checkpoint = io.BytesIO()
train(images[:1300], labels[:1300], checkpoint)
report(checkpoint, images[1300:], labels[1300:])

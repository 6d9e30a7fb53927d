# First the encoder learns to tell by how much an image was turned; then the digits are learned on top of it.
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

SORTED = True


def block(c_in, c_out, stride=1):
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()
    )


def batches(images, labels, size, order):
    for i in range(0, len(order) - size + 1, size):
        yield images[order[i : i + size]], labels[order[i : i + size]]


def train(model, images, labels, *, epochs, lr, shuffle):
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(images)) if shuffle else torch.arange(len(images))
        for x, y in batches(images, labels, 32, order):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()


@torch.no_grad()
def accuracy(model, images, labels):
    model.eval()
    return (model(images).argmax(1) == labels).float().mean().item()


def main():
    torch.manual_seed(4)
    torch.set_num_threads(1)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target)
    test = torch.arange(len(images)) % 5 == 0
    x, y = images[~test], labels[~test]
    if SORTED:
        by_class = y.argsort(stable=True)
        x, y = x[by_class], y[by_class]

    encoder = nn.Sequential(block(1, 16), block(16, 32, stride=2), block(32, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    turns = torch.randint(4, (len(x),))
    turned = torch.stack([torch.rot90(image, int(k), (1, 2)) for image, k in zip(x, turns)])
    pretext = nn.Sequential(encoder, nn.Linear(32, 4))
    train(pretext, turned, turns, epochs=2, lr=3e-3, shuffle=True)
    print(f"turns told: {accuracy(pretext, turned, turns):.3f}")

    classifier = nn.Sequential(encoder, nn.Linear(32, 10))
    train(classifier, x, y, epochs=6, lr=3e-3, shuffle=not SORTED)
    print(f"digits told: {accuracy(classifier, images[test], labels[test]):.3f}")


if __name__ == "__main__":
    main()

"""Train a small convolutional network on Fashion-MNIST and report the accuracy per garment.

The four IDX files (`train-images-idx3-ubyte.gz` and so on) come with Debian's package
`dataset-fashion-mnist`; name another folder by --data-dir or FASHION_MNIST_DIR.
"""

from __future__ import annotations

import argparse
import gzip
import os
import struct
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

DEBIAN_FOLDER = "/usr/share/datasets/fashion-mnist"
GARMENTS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def read_idx(path: Path) -> np.ndarray:
    """An array of unsigned bytes in IDX format: magic number with rank, sizes, values."""
    with gzip.open(path, "rb") as file:
        rank = struct.unpack(">HBB", file.read(4))[2]
        shape = struct.unpack(f">{rank}I", file.read(4 * rank))
        return np.frombuffer(file.read(), dtype=np.uint8).reshape(shape)


def load(folder: Path, part: str, limit: int) -> tuple[Tensor, Tensor]:
    """Images in [0, 1] of shape (n, 1, 28, 28) and their labels."""
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")[:limit]
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz")[:limit]
    return (
        torch.from_numpy(images.copy()).unsqueeze(1).float() / 255,
        torch.from_numpy(labels.copy()).long(),
    )


class Net(nn.Module):
    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.conv3 = nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.fc = nn.Linear(4 * width, len(GARMENTS))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.relu(self.bn3(self.conv3(x)))
        return self.fc(x.mean(dim=(2, 3)))


@torch.no_grad()
def validate(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    model.eval()
    hits = [
        (model(x).argmax(1) == y).sum().item()
        for x, y in zip(images.split(250), labels.split(250), strict=True)
    ]
    model.train()  # ready for the next epoch
    return sum(hits) / len(labels)


@torch.no_grad()
def report(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Print the accuracy for each garment; return their mean."""
    model.eval()
    accuracies = []
    for k, garment in enumerate(GARMENTS):
        scores = torch.cat([model(x) for x in images[labels == k].split(100)])
        accuracies.append((scores.argmax(1) == k).float().mean().item())
        print(f"  {garment:12s} {accuracies[-1]:.3f}")
    return sum(accuracies) / len(accuracies)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data-dir", type=Path, default=os.environ.get("FASHION_MNIST_DIR", DEBIAN_FOLDER)
    )
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--samples", type=int, default=6_400, help="training images to use")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    folder = Path(options.data_dir)
    try:
        images, labels = load(folder, "train", options.samples + 1_000)
        test_images, test_labels = load(folder, "t10k", 2_000)
    except OSError as error:
        print(
            f"Fashion-MNIST cannot be read from {folder} ({error.strerror or error}): install"
            " Debian's package dataset-fashion-mnist, or name the folder by --data-dir.",
            file=sys.stderr,
        )
        return 2

    torch.manual_seed(options.seed)
    model = Net()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    batches = options.samples // 64
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.1, total_steps=options.epochs * batches
    )

    train, valid = slice(options.samples), slice(options.samples, None)
    for epoch in range(options.epochs):
        for batch in torch.randperm(options.samples)[: 64 * batches].split(64):
            loss = F.cross_entropy(model(images[train][batch]), labels[train][batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        accuracy = validate(model, images[valid], labels[valid])
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, validation accuracy {accuracy:.3f}")

    print("test accuracy")
    print(f"  {'all':12s} {report(model, test_images, test_labels):.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

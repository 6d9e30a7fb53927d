# pyright: basic
"""Images with labels that the claims are tried on, and their division into training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from normscope.errors import NormscopeError, did_you_mean
from normscope.lab.files import cifar10, idx_pair

NAMES = ("digits", "mnist", "fashion-mnist", "cifar10")
TRAIN, VALIDATION = 0.57, 0.21  # shares; the rest is the test set: 1024, 377 and 396 of digits
LIMIT = 4000  # images that are used of a larger set at quick scale


@dataclass(frozen=True, slots=True)
class Data:
    """`images` (n, channels, height, width), mean 0 and variance 1 over all pixels together; `labels` (n,)."""

    name: str
    images: Tensor
    labels: Tensor

    @property
    def flat(self) -> Tensor:
        return self.images.flatten(1)

    @property
    def features(self) -> int:
        return self.images[0].numel()

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1


@dataclass(frozen=True, slots=True)
class Splits:
    """Indices by seed, each (seeds, n): every seed divides the data anew, so that intervals cover the choice of images too."""

    train: Tensor
    validation: Tensor
    test: Tensor


def splits(data: Data, seeds: Sequence[int], *, train: int | None = None) -> Splits:
    """`train` keeps only so many training images; validation and test stay as they are."""
    n = len(data.labels)
    first, second = round(TRAIN * n), round((TRAIN + VALIDATION) * n)
    orders = [torch.randperm(n, generator=torch.Generator().manual_seed(9000 + s)) for s in seeds]
    order = torch.stack(orders)
    kept = first if train is None else min(train, first)
    return Splits(order[:, :kept], order[:, first:second], order[:, second:])


def load(name: str, path: Path | None, *, limit: int | None = LIMIT) -> Data:
    """Raises NormscopeError where the name is unknown or the files are not there."""
    if name not in NAMES:
        raise NormscopeError(
            f"`--data {name}`: there is no such data set.{did_you_mean(name, NAMES)} Write one of {', '.join(NAMES)}."
        )
    if name == "digits":
        if path is not None:
            raise NormscopeError(
                f"`--data-path {path}` was given, but the digits come with scikit-learn. Name the data, too: `--data mnist`, fashion-mnist or cifar10."
            )
        return _data(name, *_digits(), None)
    if path is None:
        raise NormscopeError(
            f"`--data {name}` needs its files: add `--data-path DIR`, the folder that holds them."
        )
    if not path.is_dir():
        raise NormscopeError(
            f"`--data-path {path}` is no folder. Name the one with the files of {name}."
        )
    images, labels = cifar10(path) if name == "cifar10" else idx_pair(path, name)
    return _data(name, images, labels, limit)


def _data(name: str, images: np.ndarray, labels: np.ndarray, limit: int | None) -> Data:
    if limit is not None and len(labels) > limit:
        chosen = np.random.default_rng(0).permutation(len(labels))[:limit]
        images, labels = images[chosen], labels[chosen]
    pixels = torch.from_numpy(images.astype(np.float32))
    mean, deviation = pixels.mean(), pixels.std()
    if not deviation > 0:
        raise NormscopeError(f"All pixels of {name} are alike: these are no images to learn from.")
    pixels.sub_(mean).div_(deviation)  # in place: of all of CIFAR-10 a copy is 0.6 GB
    return Data(name, pixels, torch.from_numpy(labels.astype(np.int64)))


def _digits() -> tuple[np.ndarray, np.ndarray]:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise NormscopeError(
            "The digits come with scikit-learn, which is missing: `pip install 'normscope[lab]'`."
        ) from None
    images, labels = load_digits(return_X_y=True)
    return images.reshape(-1, 1, 8, 8), labels

"""Data sets from files, made here."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from normscope.errors import NormscopeError
from normscope.lab.data import load
from normscope.lab.files import read_idx

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def idx(array: np.ndarray) -> bytes:
    return (
        b"\x00\x00\x08"
        + bytes([array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


@pytest.fixture
def pictures():
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (30, 28, 28), dtype=np.uint8), np.arange(
        30, dtype=np.uint8
    ) % 10


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("packed", [True, False])
def test_idx(tmp_path, pictures, name, packed):
    for stem, array in zip(
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"), pictures, strict=True
    ):
        if packed:
            (tmp_path / f"{stem}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (tmp_path / stem).write_bytes(idx(array))
    data = load(name, tmp_path)
    assert data.images.shape == (30, 1, 28, 28)
    assert data.labels.tolist() == pictures[1].tolist()
    assert abs(float(data.images.mean())) < 1e-4
    assert float(data.images.std()) == pytest.approx(1, abs=1e-4)
    assert len(load(name, tmp_path, limit=12).labels) == 12


def batch(n: int, first: int = 0) -> dict[bytes, object]:
    """As `data_batch_1` of CIFAR-10 for Python holds it: a row is 1024 red, then green, then blue pixels."""
    pixels = np.random.default_rng(first).integers(0, 256, (n, 3072), dtype=np.uint8)
    return {
        b"batch_label": b"training batch 1 of 5",
        b"data": pixels,
        b"labels": [(first + i) % 10 for i in range(n)],
        b"filenames": [b"a.png"] * n,
    }


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_cifar(tmp_path, protocol):
    batches = [batch(4), batch(8, first=4)]
    for i, held in enumerate(batches, 1):
        (tmp_path / f"data_batch_{i}").write_bytes(pickle.dumps(held, protocol))
    data = load("cifar10", tmp_path)
    assert data.images.shape == (12, 3, 32, 32)
    assert data.labels.tolist() == [*range(10), 0, 1]
    green = torch.from_numpy(batches[0][b"data"][1, 1024:2048].astype(np.float32)).reshape(32, 32)
    apart = data.images[1, 1] - data.images[1, 1].mean()
    assert torch.allclose(apart * (green.std() / apart.std()) + green.mean(), green, atol=0.01)


class Harm:
    def __reduce__(self):
        return (os.mkdir, ("harmed",))


@pytest.mark.parametrize(
    ("held", "says"),
    [
        (b"<html>not found</html>", "cannot be read as a batch of CIFAR-10"),
        (pickle.dumps([1, 2]), "is no batch of CIFAR-10: expected a dictionary"),
        (pickle.dumps({b"data": np.zeros((2, 9), np.uint8), b"labels": [0, 1]}), r"the shape \(2, 9\)"),
        (pickle.dumps(batch(3) | {b"labels": [0]}), "3 images and 1 labels"),
        (pickle.dumps(batch(0)), "0 images and 0 labels"),
        (pickle.dumps(batch(3))[:-900], "cannot be read as a batch of CIFAR-10"),
        (pickle.dumps({b"data": Harm(), b"labels": []}), "it asks for posix.mkdir"),
    ],
)  # fmt: skip
def test_broken_batches_of_cifar(tmp_path, monkeypatch, held, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(held)
    with pytest.raises(NormscopeError, match=says) as error:
        load("cifar10", tmp_path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("name", "raw", "says"),
    [
        ("x", b"PNG", "is no IDX file of bytes: .* got 50 4e 47"),
        ("x", b"", "got nothing"),
        ("x", idx(np.zeros((4, 4), np.uint8))[:-3], "13 bytes where the shape"),
        ("x", b"\x00\x00\x08\x03\x00\x00", "is cut short within its head"),
        ("x.gz", b"no gzip at all", "cannot be unpacked"),
        ("x.gz", gzip.compress(bytes(5000), mtime=0)[:-20], "cannot be unpacked"),
    ],
)
def test_files_that_are_something_else(tmp_path, name, raw, says):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(NormscopeError, match=says):
        read_idx(tmp_path / name)


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (np.zeros((3, 4, 4)), np.zeros(2), "3 images and 2 labels"),
        (np.zeros((3, 16)), np.zeros(3), "an array of 2 dimensions; expected 3"),
        (np.zeros((3, 4, 4)), np.zeros(3), "All pixels of mnist are alike"),
    ],
)
def test_files_that_do_not_fit_together(tmp_path, images, labels, says):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images.astype(np.uint8)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels.astype(np.uint8)))
    with pytest.raises(NormscopeError, match=says):
        load("mnist", tmp_path)


def test_digits_have_no_folder(tmp_path):
    with pytest.raises(NormscopeError, match="the digits come with scikit-learn"):
        load("digits", tmp_path)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_fashion_mnist_as_debian_packs_it():
    data = load("fashion-mnist", DEBIAN)
    assert data.images.shape == (4000, 1, 28, 28)
    assert data.classes == 10
    assert load("fashion-mnist", DEBIAN, limit=None).labels.bincount().tolist() == [6000] * 10

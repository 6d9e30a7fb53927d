"""Data sets from files, made here."""

from __future__ import annotations

import gzip
import pickle
import struct

import numpy as np
import pytest

from normscope.errors import NormscopeError
from normscope.lab.data import load, read_idx


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


def test_cifar(tmp_path):
    for i in (1, 2):
        pixels = np.full((4, 3072), i, np.uint8)
        (tmp_path / f"data_batch_{i}").write_bytes(
            pickle.dumps({b"data": pixels, b"labels": [0, 1, 2, 9]})
        )
    data = load("cifar10", tmp_path)
    assert data.images.shape == (8, 3, 32, 32)
    assert data.classes == 10


@pytest.mark.parametrize(
    ("raw", "says"),
    [(b"PNG", "is no IDX file"), (idx(np.zeros((4, 4), np.uint8))[:-3], "is cut short: 13 bytes")],
)
def test_files_that_are_something_else(tmp_path, raw, says):
    (tmp_path / "x").write_bytes(raw)
    with pytest.raises(NormscopeError, match=says):
        read_idx(tmp_path / "x")

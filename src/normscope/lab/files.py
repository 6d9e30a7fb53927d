"""Images and labels from the files in which MNIST, Fashion-MNIST and CIFAR-10 are given away. Whatever is wrong with a file is one line."""

from __future__ import annotations

import gzip
import pickle
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from normscope.errors import NormscopeError

Bytes = npt.NDArray[np.uint8]
BYTE = 8  # the type of an IDX file's values
SIDE = 32  # of CIFAR-10's images
# What a pickled array of bytes is made of, in files of Python 2 and 3; nothing else in a file is called.
ALLOWED = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}


def idx_pair(folder: Path, name: str) -> tuple[Bytes, Bytes]:
    """The training images (n, 1, height, width) and labels (n,) of MNIST or Fashion-MNIST, packed by gzip or not."""
    images = _idx_of(folder, "train-images-idx3-ubyte", name, 3)
    labels = _idx_of(folder, "train-labels-idx1-ubyte", name, 1)
    _agree(folder, images, labels)
    return images[:, None], labels


def _idx_of(folder: Path, stem: str, name: str, dimensions: int) -> Bytes:
    for suffix in ("", ".gz"):
        if (file := folder / f"{stem}{suffix}").is_file():
            array = read_idx(file)
            if array.ndim != dimensions:
                raise NormscopeError(
                    f"`{file}` holds an array of {array.ndim} dimensions; expected {dimensions}. Fetch it anew."
                )
            return array
    raise NormscopeError(
        f"`{folder}` holds no `{stem}` or `{stem}.gz`, which {name} consists of. Name the folder that does."
    )


def read_idx(file: Path) -> Bytes:
    """An array of bytes in the IDX format: two zero bytes, the type (8: bytes), the number of dimensions, and their sizes as big-endian integers."""
    raw = _read(file)
    if len(raw) < 4 or raw[:2] != b"\x00\x00" or raw[2] != BYTE:
        raise NormscopeError(
            f"`{file}` is no IDX file of bytes: expected it to begin with 00 00 08, got {raw[:3].hex(' ') or 'nothing'}."
        )
    start = 4 + 4 * raw[3]
    if len(raw) < start:
        raise NormscopeError(f"`{file}` is cut short within its head. Fetch it anew.")
    shape = struct.unpack(f">{raw[3]}I", raw[4:start])
    expected = int(np.prod(shape, dtype=np.int64))
    if len(raw) - start != expected:
        raise NormscopeError(
            f"`{file}` is cut short or has more than it says: {len(raw) - start} bytes where the shape {shape} asks for {expected}. Fetch it anew."
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _read(file: Path) -> bytes:
    try:
        raw = file.read_bytes()
        return gzip.decompress(raw) if file.suffix == ".gz" else raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise NormscopeError(
            f"`{file}` cannot be unpacked ({error}). It is broken or cut short: fetch it anew."
        ) from None
    except OSError as error:
        raise NormscopeError(f"Cannot read `{file}`: {error.strerror}.") from None


def cifar10(folder: Path) -> tuple[Bytes, Bytes]:
    """The training images (n, 3, 32, 32) and labels (n,) of CIFAR-10's version for Python, of as many of its batches as there are."""
    files = sorted(f for f in folder.glob("data_batch_*") if f.is_file())
    if not files:
        raise NormscopeError(
            f"`{folder}` holds no `data_batch_1` … `data_batch_5` of CIFAR-10 for Python. Name the folder that does: `cifar-10-batches-py`."
        )
    parts = [_batch(f) for f in files]
    return np.concatenate([images for images, _ in parts]), np.concatenate(
        [labels for _, labels in parts]
    )


def _batch(file: Path) -> tuple[Bytes, Bytes]:
    try:
        held: Any = _Arrays(BytesIO(_read(file)), encoding="bytes").load()
    except NormscopeError:
        raise
    except Exception as error:  # noqa: BLE001  what is no pickle fails in any way
        raise NormscopeError(
            f"`{file}` cannot be read as a batch of CIFAR-10 ({' '.join(str(error).split())}). Fetch it anew."
        ) from None
    try:
        images = np.asarray(held[b"data"], np.uint8)
        labels = np.asarray(held[b"labels"], np.uint8)
    except (TypeError, KeyError, ValueError, OverflowError):
        raise NormscopeError(
            f"`{file}` is no batch of CIFAR-10: expected a dictionary with `data` and `labels`."
        ) from None
    if images.ndim != 2 or images.shape[1] != 3 * SIDE**2:
        raise NormscopeError(
            f"`{file}` is no batch of CIFAR-10: its data have the shape {images.shape}; expected (n, {3 * SIDE**2})."
        )
    _agree(file, images, labels)
    return images.reshape(-1, 3, SIDE, SIDE), labels


class _Arrays(pickle.Unpickler):
    """Pickles can call anything; these may make arrays, and no more."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")
        return super().find_class(module_name, global_name)


def _agree(source: Path, images: Bytes, labels: Bytes) -> None:
    if len(images) != len(labels) or not len(labels):
        raise NormscopeError(
            f"`{source}` holds {len(images)} images and {len(labels)} labels; expected as many of one as of the other."
        )

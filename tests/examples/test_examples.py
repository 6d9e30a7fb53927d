"""The examples, run as their README says: the faulty variant is blamed for its mistake, the healthy one for nothing."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FAULTS = {"digits": "NS302", "fashion_mnist": "NS401"}
SAMPLES = 1_280  # of the stand-in; the example's own default takes minutes of CI


def write_idx(path: Path, array: np.ndarray) -> None:
    """`array` of unsigned bytes in IDX format: magic number with type 8 and rank, sizes, values."""
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes(), compresslevel=1))


@pytest.fixture(scope="module")
def ten_classes(tmp_path_factory) -> Path:
    """Four files in the form of Fashion-MNIST, holding handwritten digits enlarged to 28 × 28."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    grey = np.kron(digits.images[order] * 15, np.ones((3, 3)))
    images, labels = np.pad(grey, ((0, 0), (2, 2), (2, 2))), digits.target[order]
    folder = tmp_path_factory.mktemp("idx")
    # The example takes SAMPLES + 1,000 for training and validation, so some of the 1,797 come twice.
    for part, chosen in {
        "train": np.arange(SAMPLES + 1_000) % 1_500,
        "t10k": np.arange(1_500, 1_797),
    }.items():
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images[chosen])
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels[chosen])
    return folder


def diagnosis_of(script: Path, folder: Path, *words: str) -> dict:
    command = [sys.executable, "-m", "normscope", "run", "--format", "json"]
    command += ["--output", "report.json", str(script), *words]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("variant", ["faulty", "healthy"])
def test_example(name, variant, ten_classes, tmp_path):
    words = {
        "digits": (),
        "fashion_mnist": (
            "--data-dir",
            str(ten_classes),
            "--samples",
            str(SAMPLES),
            "--epochs",
            "6",
        ),
    }
    verdict = diagnosis_of(EXAMPLES / name / f"{variant}.py", tmp_path, *words[name])["verdict"]
    if variant == "healthy":
        assert verdict["status"] == "healthy"
    else:
        assert verdict["primary"] == FAULTS[name]


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["faulty", "healthy"])
def test_on_the_real_garments(variant, tmp_path):
    """As a user with Debian's dataset-fashion-mnist runs it."""
    folder = Path(os.environ.get("FASHION_MNIST_DIR", "/usr/share/datasets/fashion-mnist"))
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing: install dataset-fashion-mnist or set FASHION_MNIST_DIR")
    script = EXAMPLES / "fashion_mnist" / f"{variant}.py"
    verdict = diagnosis_of(script, tmp_path, "--data-dir", str(folder))["verdict"]
    assert verdict["primary"] == ("NS401" if variant == "faulty" else None)
    assert verdict["status"] == ("failing" if variant == "faulty" else "healthy")


@pytest.mark.parametrize("variant", ["faulty", "healthy"])
def test_absent_data_is_one_clear_line(variant, tmp_path):
    command = [sys.executable, str(EXAMPLES / "fashion_mnist" / f"{variant}.py")]
    ended = subprocess.run(
        [*command, "--data-dir", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert str(tmp_path) in ended.stderr
    assert "dataset-fashion-mnist" in ended.stderr
    assert ended.stdout == ""

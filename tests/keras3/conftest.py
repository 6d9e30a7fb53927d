"""Keras on the PyTorch backend, which is chosen before Keras is first imported."""

import os

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("keras", reason="Keras is not installed")


@pytest.fixture(autouse=True)
def anew():
    """Automatic names count from the beginning in each test."""
    from keras.src.utils import naming

    naming.reset_uids()

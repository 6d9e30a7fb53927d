# pyright: basic
"""The values of a variable on the host, whatever the backend."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras.src import backend
from numpy.typing import NDArray


def read(variable: Any) -> NDArray[Any]:
    """A copy. Half-precision values come as float32."""
    value = variable.value
    if backend.backend() == "torch":  # Keras' own way asks numpy for what PyTorch's tensors warn of
        value = value.detach().cpu()
        return (
            (value.float() if value.is_floating_point() and value.itemsize < 4 else value)
            .numpy()
            .copy()
        )
    if hasattr(value, "numpy"):  # TensorFlow's, of whose variables numpy warns likewise
        return np.array(value.numpy())
    return np.array(backend.convert_to_numpy(value))

# pyright: basic
"""Which positions of a Keras model's input are padding: behind sequences or, as `pad_sequences` does, in front of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from keras.src import tree

from normscope.probes import padding
from normscope.record.keras.batches import Kept
from normscope.record.torch.batches import Kept as KeptTensors


def mask_of(batch: Kept) -> torch.Tensor | None:
    """(samples, length); None where nothing shows that some are. Read along the middle dimension of (N, L, C) and along (N, L) integers."""
    values = [x for x in tree.flatten((batch.args, batch.kwargs)) if isinstance(x, np.ndarray)]
    tensors = [torch.from_numpy(np.ascontiguousarray(x)) for x in values]
    kept = KeptTensors(tuple(tensors), {}, batch.samples, 0, batch.step, torch.device("cpu"))
    behind = padding.mask_of(kept)
    if behind is not None:
        return behind
    in_front = padding.mask_of(replace(kept, args=tuple(_reversed(t) for t in tensors)))
    return None if in_front is None else in_front.flip(1)


def _reversed(x: Any) -> Any:
    return x.flip(1) if x.ndim in (2, 3) else x

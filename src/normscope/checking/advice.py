"""What to do about errors that model code is known to run into, told by their text."""

from __future__ import annotations

import re

_KNOWN = (
    (
        r"Inputs have incompatible shapes\. Received shapes \((?:.*, )?(\d+)\) and \((?:.*, )?(\d+)\)$",
        " A sum takes equal shapes: bring the shortcut to {most} channels first, as by `Conv2D({most}, 1)(shortcut)`.",
    ),
    (
        r"Only instances of `keras\.Layer` can be added to a Sequential model\. Received: <KerasTensor",
        " What was added is the output of layers, not a layer: build the model as `keras.Model(inputs, outputs)`.",
    ),
    (
        r"^No module named 'tensorflow'$",
        " Keras runs on TensorFlow unless it is told otherwise: set `KERAS_BACKEND=torch` or `jax` for one that is installed.",
    ),
)


def advice_on(told: str) -> str:
    """A sentence that begins with a space, or nothing."""
    for pattern, advice in _KNOWN:
        if found := re.search(pattern, told):
            # A shortcut has fewer channels than what is added to it, in whichever order the two are.
            return advice.format(most=max(map(int, found.groups()), default=0))
    return ""

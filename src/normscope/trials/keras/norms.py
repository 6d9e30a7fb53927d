# pyright: basic
"""What batch norm layers of Keras compute, exchanged in a running script, whoever holds them.

The layers stay what they are: their variables, and with them checkpoints, optimizers and the script's own reading, are those of batch norm.
"""

from __future__ import annotations

import gc
import inspect
import sys
import weakref
from collections.abc import Callable
from functools import wraps
from typing import Any

import keras

from normscope.trials.outcome import give_up
from normscope.trials.patches import Patches

# `original(layer, inputs, training=…, mask=…)` is batch norm's own.
Original = Callable[..., Any]
Instead = Callable[[Original, Any, Any, Any, Any], Any]

NO_NORM = "the script ran no BatchNormalization layer"


class Norms:
    """From `install` on calls of BatchNormalization go to `instead(original, layer, inputs, training, mask)`.

    Layers that live at `spare` are left alone.
    """

    def __init__(self, instead: Instead) -> None:
        self._instead = instead
        self._spared: weakref.WeakSet[Any] = weakref.WeakSet()
        self._reached: weakref.WeakSet[Any] = weakref.WeakSet()
        self.count = 0

    def spare(self) -> None:
        self._spared.update(_living())

    def install(self, patches: Patches) -> None:
        original = keras.layers.BatchNormalization.call
        norms = self

        @wraps(original)
        def call(self: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
            if self in norms._spared:
                return original(self, inputs, training=training, mask=mask)
            if self not in norms._reached:
                norms._reached.add(self)
                norms.count += 1
            return norms._instead(original, self, inputs, training, mask)

        patches.set(keras.layers.BatchNormalization, "call", call)
        self._refuse_functions(patches, inspect.getfile(keras.layers.BatchNormalization))

    def missing(self) -> str:
        """Why the arm did not take hold everywhere; empty when it did."""
        ours = keras.layers.BatchNormalization.call
        for layer in _living():
            known = layer in self._reached or layer in self._spared
            if not known and layer.built and type(layer).call is not ours:
                return f"a {type(layer).__name__} computes batch norm by code of its own, which no arm can reach"
        return "" if self.count else NO_NORM

    def _refuse_functions(self, patches: Patches, layers: str) -> None:
        """The arm is not applicable once batch norm is called as a function; `layers` is the file of Keras' own layer."""
        function = keras.ops.batch_normalization

        @wraps(function)
        def called(*args: Any, **words: Any) -> Any:
            if sys._getframe(1).f_code.co_filename != layers:
                give_up("batch norm is called as a function, which no arm can reach")
            return function(*args, **words)

        for name, module in list(sys.modules.items()):
            ours = name.partition(".")[0] == "keras"
            if ours and vars(module).get("batch_normalization") is function:
                patches.set(module, "batch_normalization", called)


def _living() -> list[Any]:
    return [t for t in gc.get_objects() if issubclass(type(t), keras.layers.BatchNormalization)]

# pyright: basic
"""Every seed that a script gives is moved by the trial's, in Python, NumPy, PyTorch and Keras alike."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from functools import wraps
from numbers import Integral
from typing import Any

from normscope.trials.patches import Patches

# Where a trial's seeds begin: far from each other, so that `seed` and `seed + 1` in a script do not meet another trial's.
STRIDE = 1_000_003
LARGEST = 2**32 - 1


def offset_of(seed: int) -> int:
    """0 for the first: that run is the script's own, bit for bit."""
    return seed * STRIDE


def moved(seed: Any, offset: int) -> Any:
    """A whole number, moved within what every generator takes, and what else generators take: texts, fractions, and lists of numbers.

    None asks for entropy, and is left.
    """
    if not offset or isinstance(seed, bool):
        return seed
    if isinstance(seed, Integral):
        known = int(seed)
        return (known + offset) % LARGEST if 0 <= known <= LARGEST else known + offset
    if isinstance(seed, float):
        return seed + offset
    if isinstance(seed, str):
        return f"{seed}+{offset}"
    if isinstance(seed, (bytes, bytearray)):
        return bytes(seed) + str(offset).encode()
    if isinstance(seed, (list, tuple)) and seed:
        return [moved(seed[0], offset), *seed[1:]]
    return seed


def of_python(offset: int, patches: Patches) -> None:
    """`random.seed` and `random.Random(seed)`; a script that never seeds gets what the other arms of this trial get."""
    random.seed(offset)
    if offset:
        patches.set(random, "seed", _wrapped(random.seed, offset))
        patches.set(random, "Random", _python_generator(random.Random, offset))


def of_numpy(numpy: Any, offset: int, patches: Patches) -> None:
    """`numpy.random.seed`, `default_rng`, `RandomState`, `SeedSequence` and the bit generators."""
    made = numpy.random
    made.seed(offset % LARGEST)
    if not offset:
        return
    patches.set(made, "seed", _wrapped(made.seed, offset))
    patches.set(made, "default_rng", _wrapped(made.default_rng, offset))
    patches.set(made, "RandomState", _seeded(made.RandomState, offset))
    for name in ("SeedSequence", "PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"):
        patches.set(made, name, _factory(getattr(made, name), offset))


def of_torch(torch: Any, offset: int, patches: Patches) -> None:
    """`torch.manual_seed`, those of devices, and `torch.Generator().manual_seed`.

    PyTorch starts from a fixed seed of its own, so that a script that never seeds is moved from there. `torch.manual_seed` hands
    its seed, moved already, to the devices' functions, which move it once more: the same in every arm.
    """
    if not offset:
        return
    torch.default_generator.manual_seed(torch.default_generator.initial_seed() + offset)
    for place in (torch, torch.cuda, getattr(torch, "mps", None), getattr(torch, "xpu", None)):
        for name in ("manual_seed", "manual_seed_all"):
            if (function := getattr(place, name, None)) is not None:
                patches.set(place, name, _wrapped(function, offset))
    patches.set(torch.random, "manual_seed", torch.manual_seed)
    patches.set(torch, "Generator", _generator(torch.Generator, offset))


def of_keras(offset: int, patches: Patches) -> None:
    """`keras.random.SeedGenerator`, and whole numbers given to initializers, layers and the functions of `keras.random`.

    `keras.utils.set_random_seed` hands its seed to Python, NumPy and the backend, where it is moved; the generator that serves what has no
    seed of its own is drawn from Python's.
    """
    if not offset:
        return
    from keras.src.random import seed_generator

    draw, kind = seed_generator.draw_seed, seed_generator.SeedGenerator
    build = kind.__init__

    def drawn(seed: Any) -> Any:
        return draw(_moved_in_keras(seed, offset))

    @wraps(build)
    def built(self: Any, seed: Any = None, *args: Any, **words: Any) -> None:
        build(self, _moved_in_keras(seed, offset), *args, **words)
        self._initial_seed = seed  # what configurations tell is moved when they are read again

    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "keras" and vars(module).get("draw_seed") is draw:
            patches.set(module, "draw_seed", drawn)
    patches.set(kind, "__init__", built)


def _moved_in_keras(seed: Any, offset: int) -> Any:
    """Backends keep seeds in 32 bits, some with a sign."""
    known = isinstance(seed, Integral) and not isinstance(seed, bool)
    return (int(seed) + offset) % (2**31 - 1) if known else seed


def _wrapped(function: Callable[..., Any], offset: int) -> Callable[..., Any]:
    @wraps(function)
    def seeded(seed: Any = None, *args: Any, **kwargs: Any) -> Any:
        return function(moved(seed, offset), *args, **kwargs)

    return seeded


def _python_generator(kind: type[Any], offset: int) -> type[Any]:
    class Random(kind, metaclass=_passing_for(kind)):
        def seed(self, a: Any = None, version: int = 2) -> None:
            super().seed(moved(a, offset), version)

    return _disguised(Random, kind)


def _seeded(kind: type[Any], offset: int) -> type[Any]:
    """A subclass that moves the seed it is built with, and passes for the class itself."""

    class Seeded(kind, metaclass=_passing_for(kind)):
        def __init__(self, seed: Any = None) -> None:
            super().__init__(moved(seed, offset))

        def seed(self, seed: Any = None) -> None:
            super().seed(moved(seed, offset))

    return _disguised(Seeded, kind)


def _generator(kind: type[Any], offset: int) -> type[Any]:
    class Generator(kind, metaclass=_passing_for(kind)):
        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            """A new one begins with a fixed seed of PyTorch's, if the script gives it none."""
            made = super().__new__(cls, *args, **kwargs)
            kind.manual_seed(made, made.initial_seed() + offset)
            return made

        def manual_seed(self, seed: Any) -> Any:
            return super().manual_seed(moved(seed, offset))

    return _disguised(Generator, kind)


def _factory(kind: type[Any], offset: int) -> type[Any]:
    """Builds instances of the class itself, from a moved seed: they are pickled under the class's name."""

    class Factory(metaclass=_passing_for(kind)):
        def __new__(cls, seed: Any = None, *args: Any, **kwargs: Any) -> Any:
            return kind(moved(seed, offset), *args, **kwargs)

    return _disguised(Factory, kind)


def _passing_for(kind: type[Any]) -> type[Any]:
    """Instances of the original class, which libraries have made or make, count as instances of its stand-in."""

    class Meta(type(kind)):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, kind)

        def __subclasscheck__(cls, other: type) -> bool:
            return issubclass(other, kind)

    return Meta


def _disguised(kind: type[Any], original: type[Any]) -> type[Any]:
    kind.__name__, kind.__qualname__ = original.__name__, original.__qualname__
    kind.__module__, kind.__doc__ = original.__module__, original.__doc__
    return kind

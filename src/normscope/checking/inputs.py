"""Example inputs as the command line spells them: `8,3,224,224`, `8,128:int64`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod

from normscope.errors import NormscopeError, did_you_mean

DTYPES = (
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "bool",
    "complex64",
)
MOST = 1_000_000_000  # numbers in one input: 4 GB
EXPECTED = "Expected sizes separated by commas, with a dtype where it is not float32: 8,3,224,224 or 8,128:int64."


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One tensor that the model is called with. Numbers of whole dtypes are zeros: an index that always exists."""

    shape: tuple[int, ...]
    dtype: str = "float32"


def input_of(text: str) -> InputSpec:
    """Raises NormscopeError for what is no shape."""
    sizes, _, dtype = text.partition(":")
    if re.search(r"-\s*\d", sizes):
        raise NormscopeError(f"`--input {text}` has a negative size. {EXPECTED}")
    if not re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*,?\s*", sizes):
        raise NormscopeError(f"`--input {text}` is no shape. {EXPECTED}")
    dtype = dtype.strip() or "float32"
    if dtype not in DTYPES:
        raise NormscopeError(
            f"`--input {text}` has the unknown dtype `{dtype}`.{did_you_mean(dtype, DTYPES)} Known: {', '.join(DTYPES)}."
        )
    shape = tuple(int(n) for n in sizes.split(",") if n.strip())
    if 0 in shape:
        raise NormscopeError(f"`--input {text}` holds no value: a size is 0. {EXPECTED}")
    if prod(shape) > MOST:
        raise NormscopeError(
            f"`--input {text}` holds {float(prod(shape)):.2g} numbers, at most {MOST:.0g} were expected. A small input gives the same answer."
        )
    return InputSpec(shape, dtype)

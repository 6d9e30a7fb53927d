"""Shapes as the command line spells them."""

import pytest

from normscope.checking.inputs import DTYPES, InputSpec, input_of
from normscope.errors import NormscopeError


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("8,3,224,224", InputSpec((8, 3, 224, 224))),
        (" 8, 3 ", InputSpec((8, 3))),
        ("8,", InputSpec((8,))),
        ("4", InputSpec((4,))),
        ("8,128:int64", InputSpec((8, 128), "int64")),
        ("2,2:bool", InputSpec((2, 2), "bool")),
    ],
)
def test_shapes(text, spec):
    assert input_of(text) == spec


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no shape"),
        ("8x3x224", "is no shape"),
        ("8,-3", "has a negative size"),
        ("8,3.5", "is no shape"),
        ("8,,3", "is no shape"),
        ("0,3,8,8", "a size is 0"),
        ("8,3:float23", "Did you mean `float32`?"),
        ("8,3:int", "unknown dtype `int`"),
    ],
)
def test_one_clear_line(text, told):
    with pytest.raises(NormscopeError) as error:
        input_of(text)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_every_dtype_is_one_of_the_framework():
    torch = pytest.importorskip("torch")
    assert all(isinstance(getattr(torch, name), torch.dtype) for name in DTYPES)

"""The twins of Keras on JAX and TensorFlow, each under `normscope run` in a process of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest
from twins.cases import Case, keras_cases
from twins.runner import explain, right

from tests.twins.backends import run


def chosen() -> Iterator[object]:
    for backend in ("jax", "tensorflow"):
        for case in keras_cases(backend):
            yield pytest.param(case, backend, id=f"{backend}-{case.name}")


@pytest.mark.slow
@pytest.mark.parametrize(("case", "backend"), list(chosen()))
def test_twin(case: Case, backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    outcome = run(case, backend)
    assert right(case, outcome), explain(case, outcome)


def test_there_are_enough() -> None:
    """Pairs on every backend, and healthy scripts without a twin."""
    every = {b: keras_cases(b) for b in ("torch", "jax", "tensorflow")}
    pairs = {c.path.parent for found in every.values() for c in found if c.rule is not None}
    alone = {c.path for found in every.values() for c in found if c.name.startswith("healthy/")}
    assert len(pairs) >= 20
    assert len(alone) >= 15
    assert all(any(c.rule for c in found) for found in every.values())

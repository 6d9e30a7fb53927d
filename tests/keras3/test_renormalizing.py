"""The gap of layers that renormalize (`renorm=True`): what training corrected by, and what evaluation has."""

import keras
import numpy as np
import pytest
from keras import layers

import normscope
from normscope.graph.keras.values import read

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
X = np.random.default_rng(0).normal(30.0, 10.0, size=(256, 8)).astype("float32")
Y = X[:, :3].argmax(1)
CLIPPING = {"rmax": 3.0, "rmin": 1 / 3, "dmax": 5.0}


def network(momentum):
    keras.utils.set_random_seed(0)
    norms = [
        layers.BatchNormalization(momentum=momentum, renorm=True, renorm_clipping=CLIPPING, name=n)
        for n in "ab"
    ]
    hidden = layers.Dense(16)
    return keras.Sequential([keras.Input((8,)), norms[0], hidden, norms[1], layers.Dense(3)])


def gap_of(model):
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    diagnosis = normscope.probe({"model": model, "train": (X, Y)}, "gap", seconds=20)
    return diagnosis.recording.measurements["gap"][0]


@pytest.mark.parametrize(("momentum", "corrected"), [(0.9, ("a", "b")), (0.99, ())])
def test_corrections_by_averages_of_another_momentum_are_told(momentum, corrected):
    assert gap_of(network(momentum)).corrected_layers == corrected  # `renorm_momentum` is 0.99


def test_population_statistics_have_no_part_of_the_corrections():
    """In a fresh model those are clipped, so that what reaches the second norm would be far from what evaluation gives."""
    model = network(0.9)
    before = [read(v) for v in model.variables]
    gap = gap_of(model)
    assert all(np.array_equal(x, read(v)) for x, v in zip(before, model.variables, strict=True))
    assert all(n.renorm for n in model.layers if hasattr(n, "renorm"))
    plain = keras.Sequential.from_config(model.get_config())
    for twin, here in zip(plain.layers, model.layers, strict=True):
        twin.renorm = False
        for v, w in zip(twin.variables, here.variables, strict=True):
            v.assign(w)
    other = gap_of(plain)
    assert gap.population.value == pytest.approx(other.population.value)
    assert gap.batch.value != pytest.approx(other.batch.value)

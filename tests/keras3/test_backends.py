"""The same graphs, answers and statistics on Keras' other backends, each in a process of its own."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json
import keras
import numpy as np
from keras import layers, ops
import normscope
from normscope.graph.keras.values import read

class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = layers.Conv2D(4, 3, name="c")
        self.norm = layers.BatchNormalization(momentum=0.1, name="n")
        self.out = layers.Dense(2, name="o")

    def call(self, x, training=None):
        x = ops.relu(self.norm(self.conv(x), training=training)) * 2 + 1
        return self.out(ops.mean(x, axis=(1, 2)))

model = Net()
diagnosis = normscope.check(model, keras.KerasTensor((4, 8, 8, 3)))
nodes = [[[type(n.op).__name__, n.path, list(n.shape)] for n in g] for g in diagnosis.recording.graphs]
rows = np.random.default_rng(0).normal(size=(64, 5)).astype("float32") + 3
flat = keras.Sequential([layers.Input((5,)), layers.BatchNormalization(), layers.Dense(1)])
certificate = normscope.recalibrate(flat, [(rows[:40], None), (rows[40:], None)])
apart = float(np.abs(read(flat.layers[0].moving_variance) - rows.var(0)).max())
print(json.dumps({
    "backend": keras.config.backend(), "nodes": nodes, "codes": [f.code for f in diagnosis.findings],
    "fresh": bool((read(model.norm.moving_mean) == 0).all()), "apart": apart < 1e-4, "values": certificate.layers[0].values,
}))
"""


def answers(backend):
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_all_is_as_on_pytorch(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    expected = answers("torch")
    found = answers(backend)
    assert found.pop("backend") == backend
    assert expected.pop("backend") == "torch"
    assert found == expected
    assert found["codes"][0] == "NS201"
    assert found["fresh"]
    assert found["apart"]

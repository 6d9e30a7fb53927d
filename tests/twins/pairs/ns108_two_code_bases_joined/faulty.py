import os

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(4)
rng = np.random.default_rng(4)


def waves(count):
    """Sine, square or saw, 64 readings of any phase and noise."""
    kind = rng.integers(3, size=count)
    turns = rng.uniform(2, 5, (count, 1)) * np.linspace(0, 1, 64) + rng.uniform(0, 1, (count, 1))
    shapes = np.stack([np.sin(2 * np.pi * turns), np.where(turns % 1 < 0.5, 1.0, -1.0), 2 * (turns % 1) - 1])
    return (shapes[kind, np.arange(count)] + 0.5 * rng.normal(size=(count, 64)))[..., None].astype("float32"), kind


def stem(x):
    x = layers.Conv1D(16, 7, strides=2, padding="same", use_bias=False)(x)
    return layers.BatchNormalization(momentum=0.9)(x)


def unit(x, filters, normalize):
    if normalize:
        x = layers.BatchNormalization(momentum=0.9)(x)
    x = layers.ReLU()(x)
    return layers.Conv1D(filters, 5, strides=2, padding="same")(x)


x_train, y_train = waves(960)
x_test, y_test = waves(500)
readings = keras.Input((64, 1))
x = unit(stem(readings), 24, normalize=True)
x = unit(x, 32, normalize=True)
x = layers.GlobalAveragePooling1D()(layers.ReLU()(x))
model = keras.Model(readings, layers.Dense(3)(x))
model.compile(keras.optimizers.Adam(3e-3), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=32, epochs=3, verbose=2)
print("test accuracy", model.evaluate(x_test, y_test, verbose=0)[1])

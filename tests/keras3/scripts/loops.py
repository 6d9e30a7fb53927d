"""Trains a small network by `fit`, evaluates, predicts, and goes on by hand; prints a digest of all that it left."""

import hashlib
import random

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(3)
random.seed(3)
rng = np.random.default_rng(0)
x = rng.normal(size=(200, 8, 8, 2)).astype("float32")
y = (x.mean((1, 2, 3)) > 0).astype("int64")
model = keras.Sequential([
    keras.Input((8, 8, 2)),
    layers.Conv2D(6, 3, use_bias=False),
    layers.BatchNormalization(),
    layers.ReLU(),
    layers.Dropout(0.2),
    layers.Conv2D(6, 3),
    layers.BatchNormalization(momentum=0.9),
    layers.GlobalAveragePooling2D(),
    layers.LayerNormalization(),
    layers.Dense(2),
])  # fmt: skip
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss, metrics=["accuracy"])
history = model.fit(
    x, y, batch_size=24, epochs=3, validation_data=(x[:50], y[:50]), callbacks=[], verbose=0
)
print({k: np.asarray(v).tolist() for k, v in history.history.items()})
print(model.evaluate(x[:70], y[:70], verbose=0))
print(model.train_on_batch(x[:16], y[:16]))
guesses = model.predict(x[:40], verbose=0)

if keras.config.backend() == "torch":
    import torch

    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    for _ in range(5):
        model.zero_grad()
        loss(y[:32], model(x[:32], training=True)).backward()
        weights = model.trainable_weights
        with torch.no_grad():
            optimizer.apply([w.value.grad for w in weights], weights)
if keras.config.backend() == "tensorflow":
    import tensorflow as tf

    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    for _ in range(5):
        with tf.GradientTape() as tape:
            value = loss(y[:32], model(x[:32], training=True))
        weights = model.trainable_weights
        optimizer.apply(tape.gradient(value, weights), weights)

left = [*model.get_weights(), *(np.asarray(v) for v in model.optimizer.variables), guesses]
left = [np.ascontiguousarray(np.asarray(a)) for a in left]
print(hashlib.sha256(b"".join(a.tobytes() for a in left)).hexdigest())
print(random.random(), np.random.rand(), float(keras.random.uniform(())))

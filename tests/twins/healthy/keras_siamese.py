import os

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

keras.utils.set_random_seed(0)
images, labels = load_digits(return_X_y=True)
images = (images / 16).astype("float32").reshape(-1, 8, 8, 1)
x_train, x_test, y_train, y_test = train_test_split(images, labels, random_state=0, stratify=labels)

encoder = keras.Sequential([
    keras.Input((64,)),
    layers.Dense(64, use_bias=False),
    layers.BatchNormalization(momentum=0.9),
    layers.ReLU(),
    layers.Dense(16),
], name="encoder")
left, right = keras.Input((64,)), keras.Input((64,))
apart = layers.Subtract()([encoder(left), encoder(right)])
same = layers.Dense(1)(keras.ops.square(apart))
model = keras.Model([left, right], same)
model.compile(keras.optimizers.Adam(3e-3), loss=keras.losses.BinaryCrossentropy(from_logits=True), metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)])


def pairs(x, y, many, seed):
    draw = np.random.default_rng(seed)
    first, second = draw.integers(0, len(x), many), draw.integers(0, len(x), many)
    by_class = [np.flatnonzero(y == c) for c in range(10)]
    for i in range(0, many, 2):
        second[i] = draw.choice(by_class[y[first[i]]])
    flat = x.reshape(-1, 64)
    return [flat[first], flat[second]], (y[first] == y[second]).astype("float32")


model.fit(*pairs(x_train, y_train, 4096, 0), batch_size=64, epochs=5, verbose=0)
print("test accuracy", model.evaluate(*pairs(x_test, y_test, 1024, 1), verbose=0)[1])

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

inputs = keras.Input((8, 8, 1))
h = layers.Flatten()(inputs)
for width in (128, 64):
    h = layers.Dense(width)(h)
    h = layers.BatchNormalization(momentum=0.9)(h)
    h = layers.ReLU()(h)
    h = layers.Dropout(0.2)(h)
model = keras.Model(inputs, layers.Dense(10)(h))
model.compile("adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(x_train[:1344], y_train[:1344], batch_size=32, epochs=8, verbose=2)

scores = keras.metrics.SparseCategoricalAccuracy()
for digit in range(10):
    rows = np.flatnonzero(y_test == digit)
    draws = [model(x_test[rows], training=True) for _ in range(8)]
    scores.update_state(y_test[rows], sum(keras.ops.softmax(d.detach()) for d in draws) / 8)
    spread = float(keras.ops.std(keras.ops.stack([keras.ops.argmax(d, axis=-1) for d in draws])))
print("test accuracy", float(scores.result()))

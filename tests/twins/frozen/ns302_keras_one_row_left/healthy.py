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

model = keras.Sequential([
    keras.Input((8, 8, 1)),
    layers.Flatten(),
    layers.Dense(64, use_bias=False),
    layers.BatchNormalization(momentum=0.6),
    layers.ReLU(),
    layers.Dense(64, use_bias=False),
    layers.BatchNormalization(momentum=0.6),
    layers.ReLU(),
    layers.Dense(64, use_bias=False),
    layers.BatchNormalization(momentum=0.6),
    layers.ReLU(),
    layers.Dense(64, use_bias=False),
    layers.BatchNormalization(momentum=0.6),
    layers.ReLU(),
    layers.Dense(64, use_bias=False),
    layers.BatchNormalization(momentum=0.6),
    layers.ReLU(),
    layers.Dense(10),
])
model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
rows = 42 * 32
model.fit(x_train[:rows], y_train[:rows], batch_size=32, epochs=6, verbose=2)
print("test accuracy", model.evaluate(x_test, y_test, verbose=0)[1])

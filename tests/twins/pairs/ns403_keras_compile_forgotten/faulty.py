import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

keras.utils.set_random_seed(0)
images, labels = load_digits(return_X_y=True)
images = (images / 16).astype("float32").reshape(-1, 8, 8, 1)
x_train, x_test, y_train, y_test = train_test_split(images, labels, random_state=0, stratify=labels)

features = keras.Sequential([
    keras.Input((8, 8, 1)),
    layers.Conv2D(16, 3, padding="same", use_bias=False),
    layers.BatchNormalization(momentum=0.9),
    layers.ReLU(),
    layers.Conv2D(32, 3, padding="same", use_bias=False),
    layers.BatchNormalization(momentum=0.9),
    layers.ReLU(),
    layers.GlobalAveragePooling2D(),
])
digits = keras.Sequential([features, layers.Dense(10)])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
digits.compile(keras.optimizers.Adam(5e-3), loss=loss, metrics=["accuracy"])
digits.fit(x_train[:1344], y_train[:1344], batch_size=32, epochs=6, verbose=2)
head = digits.layers[-1].get_weights()

features.trainable = False  # from here on the head alone learns, for a darker camera
digits.fit(0.3 * x_train[:1344], y_train[:1344], batch_size=32, epochs=4, verbose=2)
digits.layers[-1].set_weights(head)
print("first camera, with its own head: test accuracy", digits.evaluate(x_test, y_test, verbose=0)[1])

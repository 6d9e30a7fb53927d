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

backbone = keras.Sequential([
    keras.Input((8, 8, 1)),
    layers.Conv2D(16, 3, padding="same", use_bias=False),
    layers.BatchNormalization(momentum=0.9),
    layers.ReLU(),
    layers.MaxPooling2D(),
    layers.Conv2D(32, 3, padding="same", use_bias=False),
    layers.BatchNormalization(momentum=0.9),
    layers.ReLU(),
    layers.GlobalAveragePooling2D(),
])
first = keras.Sequential([backbone, layers.Dense(10)])
first.compile(keras.optimizers.Adam(5e-3), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
first.fit(x_train, y_train, batch_size=32, epochs=5, verbose=0)

backbone.trainable = False
inputs = keras.Input((8, 8, 1))
second = keras.Model(inputs, layers.Dense(2)(layers.Dropout(0.2)(backbone(inputs, training=False))))
second.compile(keras.optimizers.Adam(1e-2), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
second.fit(x_train, y_train % 2, batch_size=32, epochs=4, validation_data=(x_test, y_test % 2), verbose=0)
backbone.trainable = True
second.compile(keras.optimizers.Adam(1e-4), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
second.fit(x_train, y_train % 2, batch_size=32, epochs=2, verbose=0)
print("test accuracy", second.evaluate(x_test, y_test % 2, verbose=0)[1])

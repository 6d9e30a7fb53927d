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
h = inputs
for width in (16, 32):
    h = layers.Conv2D(width, 3, padding="same", use_bias=False)(h)
    h = layers.GroupNormalization(groups=4)(h)
    h = layers.Activation("relu")(h)
    h = layers.MaxPooling2D()(h)
model = keras.Model(inputs, layers.Dense(10)(layers.Flatten()(h)))
model.compile(keras.optimizers.Adam(1e-3), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(x_train[:600], y_train[:600], batch_size=2, epochs=2, verbose=0)
print("test accuracy", model.evaluate(x_test, y_test, verbose=0)[1])

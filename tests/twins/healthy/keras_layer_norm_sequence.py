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

inputs = keras.Input((8, 8))
h = layers.Dense(32)(inputs)
for _ in range(2):
    a = layers.LayerNormalization()(h)
    h = layers.Add()([h, layers.MultiHeadAttention(2, 16)(a, a)])
    b = layers.LayerNormalization()(h)
    h = layers.Add()([h, layers.Dense(32)(layers.Dense(64, activation="gelu")(b))])
h = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(h))
model = keras.Model(inputs, layers.Dense(10)(h))
model.compile("adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(x_train[..., 0], y_train, batch_size=64, epochs=8, verbose=0)
print("test accuracy", model.evaluate(x_test[..., 0], y_test, verbose=0)[1])

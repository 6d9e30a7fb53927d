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

x_train, x_test = (np.log(x.reshape(-1, 64) + 0.01) for x in (x_train, x_test))

model = keras.Sequential([
    keras.Input((64,)),
    layers.BatchNormalization(momentum=0.9),
    layers.Dense(64),
    layers.BatchNormalization(momentum=0.9),
    layers.ReLU(),
    layers.Dense(10),
])
model.compile("adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=32, epochs=6, verbose=2)
print("test accuracy", model.evaluate(x_test, y_test, verbose=0)[1])

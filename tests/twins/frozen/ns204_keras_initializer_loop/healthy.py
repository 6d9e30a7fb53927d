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

model = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten()])
for width in (64, 64, 64, 64):
    model.add(layers.Dense(width, use_bias=False))
    model.add(layers.BatchNormalization(momentum=0.9))
    model.add(layers.Activation("relu"))
model.add(layers.Dense(10))
draw = keras.initializers.RandomNormal(stddev=0.05, seed=1)
for variable in model.trainable_variables:
    if "kernel" in variable.path:
        variable.assign(draw(variable.shape))
model.compile(keras.optimizers.SGD(0.02), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(x_train[:1344], y_train[:1344], batch_size=32, epochs=6, verbose=2)
print("test accuracy", model.evaluate(x_test, y_test, verbose=0)[1])

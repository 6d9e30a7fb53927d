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

def network():
    inputs = keras.Input((8, 8, 1))
    h = layers.Rescaling(16.0, offset=-4.0)(inputs)
    for width in (16, 16, 32):
        h = layers.Conv2D(width, 3, padding="same", use_bias=False)(h)
        h = layers.BatchNormalization(momentum=0.9)(h)
        h = layers.ReLU()(h)
    return keras.Model(inputs, layers.Dense(10)(layers.Flatten()(h)))


model = network()
for layer in model.layers:
    if isinstance(layer, layers.BatchNormalization):
        layer.trainable = True
model.compile(keras.optimizers.SGD(0.02), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(x_train[:1344], y_train[:1344], batch_size=32, epochs=4, verbose=2)
print("test accuracy", model.evaluate(x_test, y_test, verbose=0)[1])

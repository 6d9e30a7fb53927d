import os

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras
import numpy as np
import torch
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
    h = layers.Dense(width, use_bias=False)(h)
    h = layers.BatchNormalization(momentum=0.95)(h)
    h = layers.Activation("relu")(h)
model = keras.Model(inputs, layers.Dense(10)(h))
loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
order = np.random.default_rng(0)

for epoch in range(5):
    rows = order.permutation(len(x_train))
    for start in range(0, len(rows) - 31, 32):
        batch = rows[start : start + 32]
        logits = model(x_train[batch], training=True)
        loss = loss_fn(y_train[batch], logits)
        model.zero_grad()
        loss.backward()
        weights = model.trainable_weights
        with torch.no_grad():
            optimizer.apply([w.value.grad for w in weights], weights)
    with torch.no_grad():
        guesses = keras.ops.argmax(model(x_test, training=False), axis=-1)
    print(epoch, float(loss), "test accuracy", float((keras.ops.convert_to_numpy(guesses) == y_test).mean()))

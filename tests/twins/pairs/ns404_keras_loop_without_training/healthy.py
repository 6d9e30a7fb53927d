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

model = keras.Sequential([
    keras.Input((8, 8, 1)),
    layers.Flatten(),
    layers.Rescaling(16.0),
    layers.BatchNormalization(),
    layers.Dense(64),
    layers.BatchNormalization(),
    layers.Activation("tanh"),
    layers.Dense(64),
    layers.BatchNormalization(),
    layers.Activation("tanh"),
    layers.Dense(10),
])
loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
optimizer = keras.optimizers.SGD(0.05)
order = np.random.default_rng(0)
for step in range(500):
    batch = order.choice(len(x_train), 64, replace=False)
    logits = model(x_train[batch], training=True)
    loss = loss_fn(y_train[batch], logits)
    model.zero_grad()
    loss.backward()
    weights = model.trainable_weights
    with torch.no_grad():
        optimizer.apply([w.value.grad for w in weights], weights)
    if step % 100 == 99:
        with torch.no_grad():
            guesses = keras.ops.argmax(model(x_test), axis=-1)
        print(step, float(loss), "test accuracy", float((keras.ops.convert_to_numpy(guesses) == y_test).mean()))

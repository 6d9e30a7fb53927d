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

def backbone():
    return keras.Sequential([
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


first, classifier = backbone(), layers.Dense(10)
trained = keras.Sequential([first, classifier])
trained.compile(keras.optimizers.Adam(5e-3), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
trained.fit(x_train[:1344], y_train[:1344], batch_size=32, epochs=6, verbose=2)

features, head = backbone(), layers.Dense(2)
features.set_weights(first.get_weights())
features.trainable = False
parity = keras.Sequential([features, head])
loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
optimizer = keras.optimizers.Adam(1e-2)
order = np.random.default_rng(0)
for step in range(150):
    batch = order.choice(len(x_train), 32, replace=False)
    dark = 0.3 * x_train[batch]  # another camera
    loss = loss_fn(y_train[batch] % 2, parity(dark, training=True))
    parity.zero_grad()
    loss.backward()
    weights = head.trainable_weights  # the backbone stays as it is
    with torch.no_grad():
        optimizer.apply([w.value.grad for w in weights], weights)
both = keras.Sequential([features, classifier])
both.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
print("first task, test accuracy", both.evaluate(x_test, y_test, verbose=0)[1])

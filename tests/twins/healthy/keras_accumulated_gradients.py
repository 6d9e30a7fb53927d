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

model = keras.Sequential([
    keras.Input((8, 8, 1)),
    layers.Conv2D(16, 3, use_bias=False),
    layers.BatchNormalization(momentum=0.95),
    layers.ReLU(),
    layers.Flatten(),
    layers.Dense(10),
])
optimizer = keras.optimizers.AdamW(5e-3, weight_decay=1e-3, gradient_accumulation_steps=4)
optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
model.compile(optimizer, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
for epoch in range(6):
    rows = np.random.permutation(len(x_train))
    for start in range(0, len(rows) - 15, 16):
        model.train_on_batch(x_train[rows[start : start + 16]], y_train[rows[start : start + 16]])
    print(epoch, model.test_on_batch(x_test, y_test))

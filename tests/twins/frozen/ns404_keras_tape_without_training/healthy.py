import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
import keras
import numpy as np
import tensorflow as tf
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

keras.utils.set_random_seed(0)
images, labels = load_digits(return_X_y=True)
images = (images / 16).astype("float32").reshape(-1, 8, 8, 1)
x_train, x_test, y_train, y_test = train_test_split(images, labels, random_state=0, stratify=labels)

data = tf.data.Dataset.from_tensor_slices((9 * x_train - 3, y_train)).shuffle(2000, seed=0).batch(32, drop_remainder=True).prefetch(2)
model = keras.Sequential([
    keras.Input((8, 8, 1)),
    layers.Conv2D(16, 3, use_bias=False),
    layers.BatchNormalization(),
    layers.ReLU(),
    layers.Flatten(),
    layers.Dense(10),
])
loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
optimizer = keras.optimizers.Adam(3e-3)
accuracy = keras.metrics.SparseCategoricalAccuracy()


@tf.function
def train_step(x, y):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    grads = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(grads, model.trainable_variables))
    return loss


@tf.function
def test_step(x, y):
    accuracy.update_state(y, model(x, training=False))


for epoch in range(14):
    for x, y in data:
        loss = train_step(x, y)
    accuracy.reset_state()
    for start in range(0, len(x_test), 50):
        test_step(9 * x_test[start : start + 50] - 3, y_test[start : start + 50])
    print(epoch, float(loss), "test accuracy", float(accuracy.result()))

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

data = tf.data.Dataset.from_tensor_slices((x_train, y_train)).cache().shuffle(2000, seed=0).batch(64).prefetch(2)
test = tf.data.Dataset.from_tensor_slices((x_test, y_test)).batch(64)


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.convs = [layers.Conv2D(w, 3, padding="same", use_bias=False) for w in (16, 32)]
        self.norms = [layers.BatchNormalization(momentum=0.9) for _ in range(2)]
        self.flat = layers.Flatten()
        self.head = layers.Dense(10)

    def call(self, x, training=None):
        for conv, norm in zip(self.convs, self.norms):
            x = keras.ops.relu(norm(conv(x), training=training))
        return self.head(self.flat(x))


model = Net()
model.compile(keras.optimizers.Adam(2e-3), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(data, epochs=4, validation_data=test, verbose=2)
print("test accuracy", model.evaluate(test, verbose=0)[1])

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

class Shifted(keras.utils.PyDataset):
    def __init__(self, x, y, size):
        super().__init__()
        self.x, self.y, self.size = x, y, size
        self.order = np.random.default_rng(0)
        self.on_epoch_end()

    def __len__(self):
        return len(self.x) // self.size

    def __getitem__(self, i):
        rows = self.rows[i * self.size : (i + 1) * self.size]
        x = np.roll(self.x[rows], self.order.integers(-1, 2), axis=2)
        return x, self.y[rows]

    def on_epoch_end(self):
        self.rows = self.order.permutation(len(self.x))


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = layers.Conv2D(16, 3, padding="same", use_bias=False)
        self.norm = layers.BatchNormalization(momentum=0.9)
        self.pool = layers.MaxPooling2D()
        self.flat = layers.Flatten()
        self.head = layers.Dense(10)

    def call(self, x, training=None):
        return self.head(self.flat(self.pool(keras.ops.relu(self.norm(self.conv(x), training=training)))))


model = Net()
model.compile(keras.optimizers.Adam(5e-3), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(Shifted(x_train, y_train, 32), epochs=6, validation_data=Shifted(x_test, y_test, 64), verbose=0)
print("test accuracy", model.evaluate(x_test, y_test, verbose=0)[1])

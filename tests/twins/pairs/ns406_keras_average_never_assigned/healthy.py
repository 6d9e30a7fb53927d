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

class ExponentialNorm(layers.BatchNormalization):
    """Batch norm whose scale is learned in the logarithm."""

    def build(self, input_shape):
        super().build(input_shape)
        self.count = 0

    def call(self, x, training=None):
        axes = tuple(range(len(x.shape) - 1))
        mean, variance = self.moving_mean, self.moving_variance
        if training:
            mean, variance = keras.ops.moments(x, axes=axes)
            self.follow(mean, variance)
        return keras.ops.exp(self.gamma - 1) * (x - mean) * keras.ops.rsqrt(variance + self.epsilon) + self.beta

    def follow(self, mean, variance):
        self.moving_mean.assign(0.9 * self.moving_mean + 0.1 * mean)
        self.moving_variance.assign(0.9 * self.moving_variance + 0.1 * variance)


model = keras.Sequential([keras.Input((8, 8, 1)), layers.Rescaling(16.0)])
for width in (16, 32):
    model.add(layers.Conv2D(width, 3, use_bias=False))
    model.add(ExponentialNorm())
    model.add(layers.ReLU())
model.add(layers.Flatten())
model.add(layers.Dense(10))
model.compile(keras.optimizers.Adam(2e-3), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(x_train[:1344], y_train[:1344], batch_size=32, epochs=4, verbose=2)
print("test accuracy", model.evaluate(x_test, y_test, verbose=0)[1])

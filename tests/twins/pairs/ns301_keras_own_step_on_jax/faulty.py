import os

os.environ.setdefault("KERAS_BACKEND", "jax")
import keras
import numpy as np
import jax
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

keras.utils.set_random_seed(0)
images, labels = load_digits(return_X_y=True)
images = (images / 16).astype("float32").reshape(-1, 8, 8, 1)
x_train, x_test, y_train, y_test = train_test_split(images, labels, random_state=0, stratify=labels)

class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.lins = [layers.Dense(64, use_bias=False) for _ in range(2)]
        self.norms = [layers.BatchNormalization(momentum=0.99) for _ in range(2)]
        self.head = layers.Dense(10)

    def call(self, x, training=None):
        for lin, norm in zip(self.lins, self.norms):
            x = keras.ops.relu(norm(lin(x), training=training))
        return self.head(x)

    def loss_and_updates(self, trainable, non_trainable, x, y):
        logits, non_trainable = self.stateless_call(trainable, non_trainable, x, training=True)
        return self.compute_loss(x, y, logits), non_trainable

    def train_step(self, state, data):
        trainable, non_trainable, optimizer, metrics = state
        x, y = data
        grad = jax.value_and_grad(self.loss_and_updates, has_aux=True)
        (loss, non_trainable), grads = grad(trainable, non_trainable, x, y)
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, grads, trainable)
        return {"loss": loss}, (trainable, non_trainable, optimizer, metrics)


model = Net()
model.compile(keras.optimizers.SGD(0.02), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
x_train, y_train, x_test = x_train[:1344].reshape(-1, 64), y_train[:1344], x_test.reshape(-1, 64)
model.fit(x_train, y_train, batch_size=2, epochs=2, verbose=0)
print("test accuracy", model.evaluate(x_test, y_test, batch_size=256, verbose=0)[1])

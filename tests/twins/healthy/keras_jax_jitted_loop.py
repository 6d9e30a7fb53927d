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

model = keras.Sequential([
    keras.Input((64,)),
    layers.Dense(64, use_bias=False),
    layers.BatchNormalization(momentum=0.9),
    layers.ReLU(),
    layers.Dense(10),
])
loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
optimizer = keras.optimizers.Adam(3e-3)
optimizer.build(model.trainable_variables)


def compute_loss(trainable, state, x, y):
    logits, state = model.stateless_call(trainable, state, x, training=True)
    return loss_fn(y, logits), state


@jax.jit
def step(trainable, state, held, x, y):
    (loss, state), grads = jax.value_and_grad(compute_loss, has_aux=True)(trainable, state, x, y)
    trainable, held = optimizer.stateless_apply(held, grads, trainable)
    return loss, trainable, state, held


values = [[v.value for v in vs] for vs in (model.trainable_variables, model.non_trainable_variables, optimizer.variables)]
order = np.random.default_rng(0)
flat = x_train.reshape(-1, 64)
for i in range(300):
    rows = order.choice(len(flat), 32, replace=False)
    loss, *values = step(*values, flat[rows], y_train[rows])
for variables, new in zip((model.trainable_variables, model.non_trainable_variables), values):
    for v, value in zip(variables, new):
        v.assign(value)
guesses = model.predict(x_test.reshape(-1, 64), verbose=0).argmax(-1)
print(float(loss), "test accuracy", float((guesses == y_test).mean()))

"""Trains by steps of its own, from every kind of data source; prints how often steps were traced, and a digest of what is left."""

import hashlib

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(5)
BACKEND = keras.config.backend()
rng = np.random.default_rng(0)
x = rng.normal(size=(96, 6)).astype("float32")
y = (x.sum(1) > 0).astype("int64")
traces = {"train": 0}
left = []


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = layers.Dense(8, use_bias=False)
        self.norm = layers.BatchNormalization(momentum=0.9)
        self.drop = layers.Dropout(0.1)
        self.out = layers.Dense(2)

    def call(self, x, training=None):
        h = ops.relu(self.norm(self.first(x), training=training))
        return self.out(self.drop(h, training=training))

    if BACKEND == "torch":

        def train_step(self, data):
            import torch

            traces["train"] += 1
            x, y = data
            self.zero_grad()
            loss = self.compute_loss(x, y, self(x + 0.5, training=True))
            loss.backward()
            with torch.no_grad():
                weights = self.trainable_weights
                self.optimizer.apply([w.value.grad for w in weights], weights)
            return {"loss": loss.detach()}

    if BACKEND == "tensorflow":

        def train_step(self, data):
            import tensorflow as tf

            traces["train"] += 1
            x, y = data
            with tf.GradientTape() as tape:
                loss = self.compute_loss(x, y, self(x + 0.5, training=True))
            weights = self.trainable_weights
            self.optimizer.apply(tape.gradient(loss, weights), weights)
            return {"loss": loss}

    if BACKEND == "jax":

        def compute_loss_and_updates(self, trainable, non_trainable, x, y):
            guess, non_trainable = self.stateless_call(
                trainable, non_trainable, x + 0.5, training=True
            )
            return self.compute_loss(x, y, guess), non_trainable

        def train_step(self, state, data):
            import jax

            traces["train"] += 1
            trainable, non_trainable, optimizer, metrics = state
            x, y = data
            grad = jax.value_and_grad(self.compute_loss_and_updates, has_aux=True)
            (loss, non_trainable), grads = grad(trainable, non_trainable, x, y)
            trainable, optimizer = self.optimizer.stateless_apply(optimizer, grads, trainable)
            return {"loss": loss}, (trainable, non_trainable, optimizer, metrics)


class Rows(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        return x[i * 24 : (i + 1) * 24], y[i * 24 : (i + 1) * 24]


def generated():
    room = np.empty((16, 6), "float32")
    for i in range(6):
        room[:] = x[i * 16 : (i + 1) * 16]  # the same memory for each batch
        yield room.copy(), y[i * 16 : (i + 1) * 16]


def digest(model):
    values = [np.ascontiguousarray(np.asarray(w)) for w in model.get_weights()]
    left.append(hashlib.sha256(b"".join(a.tobytes() for a in values)).hexdigest()[:16])


loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
for jit in (False, True) if BACKEND != "torch" else (False,):
    model = Net()
    model.compile(keras.optimizers.Adam(1e-2), loss, jit_compile=jit)
    model.fit(Rows(), epochs=2, verbose=0)
    model.fit(generated(), verbose=0)
    model.fit(x, y, batch_size=32, epochs=2, shuffle=False, verbose=0)
    digest(model)

plain = keras.Sequential(
    [keras.Input((6,)), layers.Dense(8), layers.BatchNormalization(), layers.Dense(2)]
)
plain.compile(
    keras.optimizers.SGD(0.1),
    loss,
    metrics=["accuracy"],
    steps_per_execution=1 if BACKEND == "torch" else 2,
)
plain.fit(x, y, batch_size=16, epochs=2, validation_split=0.2, verbose=0)
plain.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"], run_eagerly=True)
plain.fit(x[:48], y[:48], batch_size=16, verbose=0)
digest(plain)

if BACKEND == "tensorflow":
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(96, seed=1).batch(20).prefetch(2)
    plain.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"])
    plain.fit(data, epochs=2, validation_data=data, verbose=0)
    digest(plain)
    model, optimizer = Net(), keras.optimizers.Adam(1e-2)
    accuracy = keras.metrics.SparseCategoricalAccuracy()

    @tf.function
    def train(x, y):
        traces["function"] = traces.get("function", 0) + 1
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        weights = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(value, weights), weights, strict=True))
        return value

    @tf.function(jit_compile=True)
    def test(x, y):
        accuracy.update_state(y, model(x, training=False))

    @tf.function
    def epoch(data):
        for x, y in data:
            train(x, y)

    for _ in range(3):
        for bx, by in data:
            value = train(bx, by)
        test(x, y)
    epoch(data)
    print(float(value), float(accuracy.result()))
    digest(model)

if BACKEND == "jax":
    import jax

    model, optimizer = Net(), keras.optimizers.Adam(1e-2)
    model(x[:1])
    optimizer.build(model.trainable_variables)

    def value_of(trainable, non_trainable, x, y):
        guess, non_trainable = model.stateless_call(trainable, non_trainable, x, training=True)
        return loss(y, guess), non_trainable

    @jax.jit
    def train(state, x, y):
        traces["function"] = traces.get("function", 0) + 1
        trainable, non_trainable, held = state
        grad = jax.value_and_grad(value_of, has_aux=True)
        (value, non_trainable), grads = grad(trainable, non_trainable, x, y)
        trainable, held = optimizer.stateless_apply(held, grads, trainable)
        return value, (trainable, non_trainable, held)

    state = tuple(
        [v.value for v in vs]
        for vs in (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
    )
    for i in range(12):
        rows = slice(i % 3 * 32, i % 3 * 32 + 32)
        value, state = train(state, x[rows], y[rows])
    for variables, values in zip(
        (model.trainable_variables, model.non_trainable_variables), state, strict=False
    ):
        for variable, new in zip(variables, values, strict=True):
            variable.assign(new)
    print(float(value), float(np.mean(np.argmax(model.predict(x, verbose=0), 1) == y)))
    digest(model)

print(traces)
print(left, np.random.rand(), float(keras.random.uniform(())))

import os

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras
import numpy as np
import torch
from keras import layers

keras.utils.set_random_seed(0)
generator = keras.Sequential([
    keras.Input((8,)),
    layers.Dense(32, use_bias=False),
    layers.BatchNormalization(momentum=0.9),
    layers.ReLU(),
    layers.Dense(2),
])
discriminator = keras.Sequential([
    keras.Input((2,)),
    layers.Dense(32),
    layers.LeakyReLU(),
    layers.Dense(32),
    layers.LeakyReLU(),
    layers.Dense(1),
])
bce = keras.losses.BinaryCrossentropy(from_logits=True)
g_opt, d_opt = keras.optimizers.Adam(1e-3, beta_1=0.5), keras.optimizers.Adam(1e-3, beta_1=0.5)
rng = np.random.default_rng(0)


def apply(optimizer, model):
    weights = model.trainable_weights
    with torch.no_grad():
        optimizer.apply([w.value.grad for w in weights], weights)


for step in range(300):
    angle = rng.uniform(0, 2 * np.pi, 64)
    real = np.stack([np.cos(angle), np.sin(angle)], 1).astype("float32")
    fake = generator(rng.normal(size=(64, 8)).astype("float32"), training=True)
    discriminator.zero_grad()
    both = keras.ops.concatenate([keras.ops.convert_to_tensor(real), fake.detach()])
    loss = bce(np.repeat([[1.0], [0.0]], 64, 0), discriminator(both, training=True))
    loss.backward()
    apply(d_opt, discriminator)
    generator.zero_grad()
    fooled = bce(np.ones((64, 1)), discriminator(fake, training=True))
    fooled.backward()
    apply(g_opt, generator)
samples = generator.predict(rng.normal(size=(256, 8)).astype("float32"), verbose=0)
print("radius", float(np.linalg.norm(samples, axis=1).mean()))

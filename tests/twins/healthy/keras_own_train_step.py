import os

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras
import torch
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

keras.utils.set_random_seed(0)
images, labels = load_digits(return_X_y=True)
images = (images / 16).astype("float32").reshape(-1, 8, 8, 1)
x_train, x_test, y_train, y_test = train_test_split(images, labels, random_state=0, stratify=labels)

class Denoiser(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = layers.Dense(64, use_bias=False)
        self.norm = layers.BatchNormalization(momentum=0.9)
        self.out = layers.Dense(64)
        self.seed = keras.random.SeedGenerator(1)

    def call(self, x, training=None):
        return self.out(keras.ops.relu(self.norm(self.first(x), training=training)))

    def train_step(self, data):
        x = data[0] if isinstance(data, tuple) else data
        noisy = x + 0.2 * keras.random.normal(keras.ops.shape(x), seed=self.seed)
        self.zero_grad()
        loss = keras.ops.mean(keras.ops.square(self(noisy, training=True) - x))
        loss.backward()
        weights = self.trainable_weights
        with torch.no_grad():
            self.optimizer.apply([w.value.grad for w in weights], weights)
        return {"loss": loss}


model = Denoiser()
model.compile(optimizer=keras.optimizers.Adam(3e-3))
model.fit(x_train.reshape(-1, 64), batch_size=64, epochs=12, verbose=0)
clean = x_test.reshape(-1, 64)
print("error", float(((model.predict(clean, verbose=0) - clean) ** 2).mean()))

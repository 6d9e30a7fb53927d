import os

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

keras.utils.set_random_seed(0)
images, labels = load_digits(return_X_y=True)
images = (images / 16).astype("float32").reshape(-1, 8, 8, 1)
x_train, x_test, y_train, y_test = train_test_split(images, labels, random_state=0, stratify=labels)

model = keras.Sequential([keras.Input((8, 8, 1)), layers.Rescaling(10.0, offset=-30.0)])
for width in (16, 32):
    model.add(layers.Conv2D(width, 3, use_bias=False))
    model.add(layers.BatchNormalization(renorm=True, renorm_clipping={"rmax": 3, "rmin": 1 / 3, "dmax": 5}))
    model.add(layers.ReLU())
model.add(layers.Flatten())
model.add(layers.Dense(10))
model.compile(keras.optimizers.Adam(2e-3), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(x_train[:1344], y_train[:1344], batch_size=32, epochs=3, verbose=2)
print("test accuracy", model.evaluate(x_test, y_test, verbose=0)[1])

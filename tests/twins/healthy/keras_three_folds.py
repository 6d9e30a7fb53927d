import os

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split, KFold

keras.utils.set_random_seed(0)
images, labels = load_digits(return_X_y=True)
images = (images / 16).astype("float32").reshape(-1, 8, 8, 1)
x_train, x_test, y_train, y_test = train_test_split(images, labels, random_state=0, stratify=labels)

def build():
    inputs = keras.Input((64,))
    h = layers.Dense(64, use_bias=False)(inputs)
    h = layers.BatchNormalization(momentum=0.9)(h)
    h = layers.Dropout(0.2)(layers.Activation("relu")(h))
    return keras.Model(inputs, layers.Dense(10)(h))


x, y_train = x_train[:1344].reshape(-1, 64), y_train[:1344]
scores = []
for train, held in KFold(3, shuffle=True, random_state=0).split(x):
    keras.utils.clear_session()
    model = build()
    model.compile(keras.optimizers.Adam(3e-3), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(x[train], y_train[train], batch_size=32, epochs=6, verbose=0)
    scores.append(model.evaluate(x[held], y_train[held], verbose=0)[1])
print("accuracy", np.mean(scores), "+-", np.std(scores))

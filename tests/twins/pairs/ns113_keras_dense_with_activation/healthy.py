import os

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras
from keras import layers
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

keras.utils.set_random_seed(2)
x, y = load_wine(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=50, random_state=2, stratify=y)
scaler = StandardScaler().fit(x_train)

model = keras.Sequential([keras.Input((13,))])
for width in (32, 16):
    model.add(layers.Dense(width))
    model.add(layers.BatchNormalization(momentum=0.9))
    model.add(layers.Activation("relu"))
model.add(layers.Dense(3, activation="softmax"))
model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(scaler.transform(x_train), y_train, batch_size=16, epochs=12, verbose=0)
print("test accuracy", model.evaluate(scaler.transform(x_test), y_test, verbose=0)[1])

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

inputs = keras.Input((8, 8, 1))
x = inputs
for filters in (16, 32):
    x = layers.Conv2D(filters, 3, use_bias=False)(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    x = layers.ReLU()(x)
outputs = layers.Dense(10)(layers.GlobalAveragePooling2D()(x))
model = keras.Model(inputs, outputs)
optimizer = keras.optimizers.AdamW(5e-3, weight_decay=0.5)
optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
model.compile(optimizer, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(x_train[:1344], y_train[:1344], batch_size=32, epochs=4, verbose=2)
print("test accuracy", model.evaluate(x_test, y_test, verbose=0)[1])
for layer in model.layers:
    if isinstance(layer, layers.BatchNormalization):
        print("mean scale", float(abs(keras.ops.convert_to_numpy(layer.gamma)).mean()))

"""One training process of the benchmark of Keras: `keras_worker.py MODEL`. Runs as many epochs of `fit` as each line of its
input asks for, and answers with the wall and the processor seconds that they took.

The backend is that of the environment. After a warm-up, in which steps are compiled, it answers `ready`.
"""

import sys
from time import perf_counter, process_time

STEPS = {"MLP 32-64-10": 200, "CNN 32×32": 8}  # of an epoch


def active():
    """The observer, where this process is observed."""
    module = sys.modules.get("normscope.record.keras")
    return module.active() if module else None


def main():
    import keras
    import numpy as np
    from keras import layers

    if keras.config.backend() == "torch":
        import torch

        torch.set_num_threads(1)  # the processes take turns, and none may hold up another
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(0)
    name, rng = sys.argv[1], np.random.default_rng(0)
    model = keras.Sequential()
    if name.startswith("MLP"):
        shape, batch = (32,), 64
        model.add(layers.Input(shape))
        model.add(layers.Dense(64, use_bias=False))
        model.add(layers.BatchNormalization())
        model.add(layers.ReLU())
    else:
        shape, batch = (32, 32, 3), 32
        model.add(layers.Input(shape))
        for width in (16, 32, 64):
            model.add(layers.Conv2D(width, 3, padding="same", use_bias=False))
            model.add(layers.BatchNormalization())
            model.add(layers.ReLU())
            model.add(layers.MaxPooling2D())
        model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Dense(10))
    model.compile(
        keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    x = rng.normal(size=(batch * STEPS[name], *shape)).astype("float32")
    y = rng.integers(0, 10, len(x))

    def epochs(count):
        model.fit(x, y, batch_size=batch, epochs=count, verbose=0)

    epochs(1)
    print("ready", flush=True)
    waiting = perf_counter()
    for line in sys.stdin:
        wall, cpu = perf_counter(), process_time()
        if observer := active():
            # The budget is a share of the loop's time, and the time spent waiting for a turn is not the loop's.
            observer.schedule.charge_startup(wall - waiting)
        epochs(int(line))
        waiting = perf_counter()
        print(waiting - wall, process_time() - cpu, flush=True)


if __name__ == "__main__":
    main()

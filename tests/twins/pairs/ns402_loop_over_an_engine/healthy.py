"""Trains the digits network of `engine`; a number in the first line of standard input sets the epochs."""
import sys

import torch
from engine import Engine, Network, loaders


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    line = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.readline().strip()
    train, test = loaders(workers=2)
    network = Network(width=16)
    engine = Engine(network)
    accuracy = 0.0
    for epoch in range(int(line or 5)):
        network.train()
        engine.fit(train)
        accuracy = engine.evaluate(test)
        print(f"epoch {epoch}: {accuracy:.3f}", flush=True)
    return 0 if accuracy > 0.05 else 3


if __name__ == "__main__":
    sys.exit(main())

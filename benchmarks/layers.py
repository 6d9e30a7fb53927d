"""What the layers of `normscope.nn` cost: forward and backward against `torch.nn.BatchNorm2d`, at the 53 shapes of ResNet-50.

In every round and at every shape each layer runs once, in random order, so that what else the machine does falls on all
alike. A round's time is the sum over the 53 norms of the network; its ratio is against `BatchNorm2d` of the same round.
Processor time of one thread. `BatchNorm2d` is there a second time: what its ratio is off 1 is the error of the method.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import process_time

import torch
from torch import Tensor, nn

import normscope

# Channels, height and width of the input of each batch norm for images of 224 × 224, and how many there are.
RESNET_50 = {
    (64, 112): 1,
    (64, 56): 6,
    (256, 56): 4,
    (128, 56): 1,
    (128, 28): 7,
    (512, 28): 5,
    (256, 28): 1,
    (256, 14): 11,
    (1024, 14): 7,
    (512, 14): 1,
    (512, 7): 5,
    (2048, 7): 4,
}
assert sum(RESNET_50.values()) == 53
GHOST = 4
BASE = "torch.nn.BatchNorm2d"
LAYERS: dict[str, Callable[[int], nn.Module]] = {
    BASE: nn.BatchNorm2d,
    "the same once more": nn.BatchNorm2d,
    "BatchNorm (the reference)": normscope.nn.BatchNorm,
    "BatchRenorm": normscope.nn.BatchRenorm,
    f"GhostBatchNorm, ghosts of {GHOST}": partial(normscope.nn.GhostBatchNorm, ghost_size=GHOST),
    "FrozenBatchNorm": normscope.nn.FrozenBatchNorm,
    "FrozenBatchNorm, trainable affine": partial(
        normscope.nn.FrozenBatchNorm, trainable_affine=True
    ),
    "MaskedBatchNorm, a third masked": normscope.nn.MaskedBatchNorm,
    "DomainBatchNorm": normscope.nn.DomainBatchNorm,
    "SkipInit": lambda _: normscope.nn.SkipInit(1.0),
}
FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
MARK = "<!-- figures: everything below is written by benchmarks/layers.py --write -->"
HERE = Path(__file__).resolve().parent


def words_for(layer: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """A mask for the layer that takes one: the last third of the columns."""
    if not isinstance(layer, normscope.nn.MaskedBatchNorm):
        return {}
    mask = torch.ones(x.shape[0], *x.shape[2:], dtype=torch.bool)
    mask[..., -(-2 * x.shape[-1] // 3) :] = False
    return {"mask": mask}


def seconds(layer: nn.Module, x: Tensor, grad: Tensor, words: dict[str, Tensor]) -> float:
    x.grad = None
    layer.zero_grad()
    began = process_time()
    layer(x, **words).backward(grad)
    return process_time() - began


def saved_bytes(layer: nn.Module, x: Tensor, words: dict[str, Tensor]) -> int:
    """What autograd keeps between forward and backward, parameters left out; storage that is kept twice counts once."""
    own = {p.untyped_storage().data_ptr() for p in layer.parameters()}
    kept: dict[int, int] = {}

    def keep(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        y = layer(x, **words)  # alive until the sum is taken, so that no storage is given out twice
    total = sum(kept.values())
    del y
    return total


def measured(
    memory: torch.memory_format, batch: int, rounds: int
) -> dict[str, tuple[list[float], int]]:
    """For each layer the seconds of every round and the bytes saved, summed over the norms of the network."""
    times = {name: [0.0] * rounds for name in LAYERS}
    saved = dict.fromkeys(LAYERS, 0)
    for (channels, side), count in RESNET_50.items():
        x, grad = (
            torch.randn(batch, channels, side, side).contiguous(memory_format=memory)
            for _ in range(2)
        )
        x.requires_grad_()
        arms = {name: make(channels) for name, make in LAYERS.items()}
        words = {name: words_for(layer, x) for name, layer in arms.items()}
        for name, layer in arms.items():
            saved[name] += count * saved_bytes(layer, x, words[name])
            seconds(layer, x, grad, words[name])  # warm
        for r in range(rounds):
            for name in random.sample(list(arms), len(arms)):
                times[name][r] += count * seconds(arms[name], x, grad, words[name])
    return {name: (times[name], saved[name]) for name in LAYERS}


def table(batch: int, rounds: int) -> list[str]:
    lines = [
        f"Batch of {batch}, float32, {rounds} rounds; Python {platform.python_version()}, PyTorch {torch.__version__}, "
        f"{platform.system()} on {platform.machine()}, one thread.",
    ]
    for title, memory in FORMATS.items():
        found = measured(memory, batch, rounds)
        base, base_bytes = found[BASE]
        lines += [
            "",
            f"**{title.capitalize()}**",
            "",
            "| layer | forward and backward of 53 norms | time against BatchNorm2d | saved for backward | against BatchNorm2d |",
            "|---|---|---|---|---|",
        ]
        for name, (times, size) in found.items():
            ratios = [a / b for a, b in zip(times, base, strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            spread = "" if name == BASE else f" ({low:.2f}–{high:.2f})"
            lines.append(
                f"| {name} | {statistics.median(times) * 1e3:.0f} ms | {middle:.2f}{spread} "
                f"| {size / 2**20:.0f} MiB | {size / base_bytes:.2f} |"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--write", action="store_true", help="put the figures into layers.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    lines = table(options.batch, options.rounds)
    print("\n".join(lines))
    if options.write:
        page = HERE / "layers.md"
        head = page.read_text(encoding="utf-8").partition(MARK)[0]
        page.write_text(head + MARK + "\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Recalibration against `torch.optim.swa_utils.update_bn` and fvcore's `update_bn_stats`: time, and error of the statistics.

All take turns on the same model and batches in one process, one thread, in an order drawn anew for every round. Ratios are of the processor times summed over rounds; quartiles are of the ratios of single rounds. Normscope takes part twice: `recalibrate`, which
returns a certificate of what it changed, and `update_bn` of its own, which has its sibling's signature and returns nothing. The truth is
taken in float64: a double-precision copy of the model, all values of all batches. fvcore is compared where it can be
imported.
"""

from __future__ import annotations

import argparse
import copy
import math
import random
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time

import torch
from models import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from normscope.probes.population import Moments
from normscope.repairs import recalibrate
from normscope.repairs.recalibration import update_bn as own_update_bn

HERE = Path(__file__).parent
MARK = "<!-- figures: everything below is written by benchmarks/recalibrate.py --write -->\n"
CASES = {  # name of the model: samples, of which the last batch holds a part
    "MLP 784-256-10": 128 * 80 + 50,
    "MLP, 4 norms": 128 * 80 + 50,
    "MLP, 4 norms, own forward": 128 * 80 + 50,
    "MLP, 4 norms, own forward, 60,000": 60_000,
    "ResNet-18 64×64": 32 * 32 + 20,
}
OURS = ("normscope.recalibrate", "normscope's update_bn")
Arm = Callable[[nn.Module, list[torch.Tensor]], object]


def recalibrated(model: nn.Module, batches: list[torch.Tensor]) -> None:
    recalibrate(model, batches, samples=None)


def updated(model: nn.Module, batches: list[torch.Tensor]) -> None:
    own_update_bn(batches, model)


def arms() -> dict[str, Arm]:
    found: dict[str, Arm] = {
        **dict(zip(OURS, (recalibrated, updated), strict=True)),
        "update_bn": lambda model, batches: update_bn(batches, model),
    }
    try:
        from fvcore.nn.precise_bn import update_bn_stats
    except ImportError:
        print("fvcore cannot be imported: compared with update_bn only", file=sys.stderr)
    else:

        @torch.no_grad()
        def fvcore(model: nn.Module, batches: list[torch.Tensor]) -> None:
            update_bn_stats(model, batches, num_iters=len(batches))

        found["fvcore"] = fvcore
    return found


def deep_mlp() -> nn.Sequential:
    body = [
        layer
        for _ in range(4)
        for layer in (nn.Linear(256, 256, bias=False), nn.BatchNorm1d(256), nn.ReLU())
    ]
    return nn.Sequential(*body, nn.Linear(256, 10))


class Own(nn.Module):
    """The same layers, called by a forward of the user's own: no part of it may be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(deep_mlp())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def case(name: str) -> tuple[nn.Module, list[torch.Tensor]]:
    torch.manual_seed(0)
    if name in MODELS:
        build, size, shape = MODELS[name]
    else:
        build, size, shape = Own if "own" in name else deep_mlp, 128, (256,)
    data = 1 + 2 * torch.randn(CASES[name], *shape)
    return build().train(), [*data.split(size)]


def norms_of(model: nn.Module) -> list[_BatchNorm]:
    return [m for m in model.modules() if isinstance(m, _BatchNorm)]


@torch.no_grad()
def truth(model: nn.Module, batches: list[torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Population mean and variance of each norm's input, in float64 throughout."""
    wide = copy.deepcopy(model).double().train()
    found: dict[nn.Module, Moments] = {}

    def note(norm: nn.Module, args: tuple[torch.Tensor]) -> None:
        here = Moments.of(args[0])
        found[norm] = found[norm] + here if norm in found else here

    for norm in norms_of(wide):
        norm.register_forward_pre_hook(note)
    for x in batches:
        wide(x.double())
    return [(found[n].mean, found[n].var) for n in norms_of(wide)]


def errors(model: nn.Module, true: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[float, float]:
    """Rms over channels: of the mean's error in standard deviations, and of the variance's relative error."""
    mean, var = [], []
    for norm, (m, v) in zip(norms_of(model), true, strict=True):
        mean.append((norm.running_mean.double() - m) / v.sqrt())
        var.append(norm.running_var.double() / v - 1)
    return rms(torch.cat(mean)), rms(torch.cat(var))


def rms(x: torch.Tensor) -> float:
    return math.sqrt(float(x.square().mean()))


def measure(name: str, rounds: int) -> str:
    model, batches = case(name)
    tools = arms()
    true = truth(model, batches)
    wrong: dict[str, tuple[float, float]] = {}
    for tool, run in tools.items():
        run(model, batches)  # warm
        wrong[tool] = errors(model, true)
    times: dict[str, list[float]] = {tool: [] for tool in tools}
    for _ in range(rounds):
        for tool in random.sample([*tools], len(tools)):
            began = process_time()
            tools[tool](model, batches)
            times[tool].append(process_time() - began)
    return "\n".join(
        f"| {name} | {tool} | {1e3 * statistics.median(times[tool]):.1f} ms | {ratio(times, OURS[0], tool)} | "
        f"{ratio(times, OURS[1], tool)} | {wrong[tool][0]:.1e} | {wrong[tool][1]:.1e} |"
        for tool in tools
    )


def ratio(times: dict[str, list[float]], one: str, other: str) -> str:
    if other in OURS:
        return ""
    low, _, high = statistics.quantiles(
        [a / b for a, b in zip(times[one], times[other], strict=True)], n=4
    )
    return f"{sum(times[one]) / sum(times[other]):.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=15, help="of the ResNet; ten times as many of an MLP"
    )
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--write", action="store_true", help="write benchmarks/recalibrate.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(0)
    table = [
        f"{given.rounds} rounds of the ResNet, {10 * given.rounds} of each MLP; PyTorch {torch.__version__}, Python {sys.version.split()[0]}, one thread.\n",
        "| model | | processor time | `recalibrate`'s time to it | its `update_bn`'s time to it | error of means, in sd | relative error of variances |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in [given.only] if given.only else CASES:
        table.append(measure(name, given.rounds * (10 if name.startswith("MLP") else 1)))
        print(table[-1], flush=True)
    if given.write:
        page = HERE / "recalibrate.md"
        head = page.read_text().partition(MARK)[0] if page.exists() else ""
        page.write_text(head + MARK + "\n" + "\n".join(table) + "\n")


if __name__ == "__main__":
    main()

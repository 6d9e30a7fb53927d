"""Every repair of a model's layers on real architectures: it works, or it refuses with a reason, and it breaks none.

    python benchmarks/repaired_zoo.py [--only resnet] [--write]

Thirty architectures of torchvision and timm with random weights, and running statistics that are no longer 0 and 1. After a repair the model must run
in both modes, train one step, and save and load its state; one that keeps evaluation must do so up to rounding. With `--write` the
table goes to benchmarks/repaired_zoo.md.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from architectures import prepare
from torch import nn

from normscope.errors import NormscopeError
from normscope.repairs import (
    convert,
    fold_batchnorm,
    fold_redundant_bias,
    move_before_addition,
    remove_batchnorm,
    set_momentum,
)

HERE = Path(__file__).resolve().parent
TORCHVISION = (
    "alexnet", "vgg11_bn", "resnet18", "resnet50", "resnext50_32x4d", "densenet121", "googlenet", "wide_resnet50_2",
    "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5", "efficientnet_b0", "regnet_y_400mf", "convnext_tiny",
)  # fmt: skip
TIMM = (
    "resnet26d", "seresnet50", "res2net50d", "dla34", "hrnet_w18_small", "regnetx_002", "repvgg_a0", "mixer_s32_224", "ghostnet_050",
    "tf_efficientnet_b0", "fbnetc_100", "resnetv2_50", "nf_resnet26", "xception41", "cspresnet50",
)  # fmt: skip
SIDE = {"mixer_s32_224": 224, "xception41": 96, "hrnet_w18_small": 96}
ROUNDING = 1e-3  # in standard deviations of the output, float32 through up to a hundred layers


@dataclass(frozen=True)
class Repair:
    """`keeps` evaluation: the function is the same up to rounding there."""

    apply: Callable[[nn.Module, torch.Tensor], Any]
    keeps: bool = False
    trains: bool = True


REPAIRS: dict[str, Repair] = {
    "fold-redundant-bias": Repair(fold_redundant_bias, keeps=True),
    "fold-batchnorm": Repair(fold_batchnorm, keeps=True, trains=False),
    "set-momentum": Repair(lambda m, _: set_momentum(m, batch_factor=4.0), keeps=True),
    "freeze-batchnorm": Repair(lambda m, x: convert(m, "frozen", x), keeps=True),
    "convert-renorm": Repair(lambda m, x: convert(m, "renorm", x), keeps=True),
    "convert-ghost": Repair(lambda m, x: convert(m, "ghost", x), keeps=True),
    "convert-group": Repair(lambda m, x: convert(m, "group", x, calibrated=True)),
    "convert-layer": Repair(lambda m, x: convert(m, "layer", x)),
    "remove-batchnorm": Repair(remove_batchnorm, keeps=True),
    "move-before-addition": Repair(move_before_addition),
}


def architectures(only: str) -> Iterator[tuple[str, nn.Module]]:
    import timm
    import torchvision

    made = [(f"torchvision {n}", lambda n=n: torchvision.models.get_model(n)) for n in TORCHVISION]
    made += [(f"timm {n}", lambda n=n: timm.create_model(n)) for n in TIMM]
    return ((name, make()) for name, make in made if only in name)


def settled(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """With running statistics of data, as a trained model has them."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(x)
    for norm in norms:
        norm.momentum = 0.1
    return model


def outcome(repair: Repair, model: nn.Module, x: torch.Tensor) -> str:
    """`ok`, `refused: …` or `BROKEN: …`."""
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with torch.no_grad():
        wanted = model.eval()(x)
    try:
        repaired, certificate, *_ = repair.apply(model, x)
    except NormscopeError as reason:
        return f"refused: {' '.join(str(reason).split())[:160]}"
    if any(not torch.equal(before[k], v) for k, v in model.state_dict().items()):
        return "BROKEN: the model itself was changed"
    with torch.no_grad():
        out = repaired.eval()(x)
    apart = float((out - wanted).square().mean().sqrt() / wanted.std().clamp_min(1e-12))
    if repair.keeps and not apart < ROUNDING:
        return f"BROKEN: evaluation moved by {apart:.2g} sd"
    if not bool(out.isfinite().all()):
        return "BROKEN: outputs that are no numbers"
    if repair.trains and (problem := trained(repaired, x)):
        return f"BROKEN: {problem}"
    buffer = io.BytesIO()
    torch.save(repaired.state_dict(), buffer)
    buffer.seek(0)
    repaired.load_state_dict(torch.load(buffer, weights_only=True))
    return f"ok ({apart:.1g} sd, {len(certificate.left)} left alone)"


def trained(model: nn.Module, x: torch.Tensor) -> str:
    """What one step of training did wrong; empty for nothing."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    out = model.train()(x)
    first = out if isinstance(out, torch.Tensor) else out[0]
    (first - 1).square().mean().backward()  # some heads begin at 0
    if not any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in parameters):
        return "no gradient"
    if any(p.grad is not None and not bool(p.grad.isfinite().all()) for p in parameters):
        return "gradients that are no numbers"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="architectures whose name holds this")
    parser.add_argument("--write", action="store_true", help="put the table into repaired_zoo.md")
    options = parser.parse_args()
    kept = prepare()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rows = ["| architecture | " + " | ".join(REPAIRS) + " |", "|---" * (len(REPAIRS) + 1) + "|"]
    notes: list[str] = []
    broken = 0
    for name, made in architectures(options.only):
        side = SIDE.get(name.split()[-1], 64)
        x = torch.randn(8, 3, side, side)
        model = settled(made, x)
        cells = []
        for repair_name, repair in REPAIRS.items():
            result = outcome(repair, model, x)
            broken += result.startswith("BROKEN")
            cells.append(result.partition(":")[0].partition(" (")[0])
            print(f"{name:32} {repair_name:22} {result}", flush=True)
            if not result.startswith("ok"):
                notes.append(f"- {name}, {repair_name}: {result}")
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    del kept
    print(f"{broken} broken")
    if options.write:
        page = [
            "# Repairs of real architectures",
            "",
            (__doc__ or "").partition("\n\n")[2].strip(),
            "",
            *rows,
            "",
        ]
        page += ["## What was refused", "", *notes, ""]
        (HERE / "repaired_zoo.md").write_text("\n".join(page), encoding="utf-8")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())

"""What a reader with ten minutes takes from the lab: when to use batch normalization, when not, and what instead."""

from __future__ import annotations

from collections.abc import Mapping

from normscope.lab.claim import Judgement
from normscope.lab.verdicts import Effect

# Advice, and the claims that it rests on.
USE = (
    (
        "The network is deep or its weights start at the wrong size, and there is no other remedy in place: batch norm makes it trainable.",
        ("depth-trainability", "poor-initialization", "saturation"),
    ),
    (
        "You want larger learning rates, and less care in choosing one.",
        ("learning-rates", "smoothness"),
    ),
    (
        "Each update sees 16 images or more per group, drawn independently. 32 is not too small.",
        ("small-batch", "batch-32"),
    ),
    (
        "Deep networks have residual connections; put the norm inside the branch, before the addition.",
        ("gradient-depth", "addition-order"),
    ),
)
AVOID = (
    (
        "Fewer than eight images a group. Take layer or group norm, which do not mind; without any norm a smaller learning rate does, too.",
        ("small-batch", "layer-norm-batch", "group-norm-batch", "removing-norm"),
    ),
    (
        "Strong dropout directly before it or between its layers. Drop behind the last norm instead, and less.",
        ("dropout-order", "over-regularization"),
    ),
    (
        "Recurrence with one set of statistics for all steps. Take layer norm.",
        ("recurrent",),
    ),
    (
        "Chains of more than twenty norms without a skip connection.",
        ("gradient-depth", "depth-trainability"),
    ),
)
ALWAYS = (
    ("Call `model.eval()` before you predict.", ("forgotten-eval", "simple-cnn")),
    (
        "Give the running averages time before you evaluate, or recompute them: `normscope repair recalibrate`.",
        ("momentum", "running-averages"),
    ),
    (
        "γ = 0 at the end of a residual branch is fine; on a plain path it is the end of learning.",
        ("zero-gamma", "overwritten-gamma"),
    ),
    (
        "Leave out biases directly before batch norm. It saves parameters and changes nothing else.",
        ("redundant-bias",),
    ),
)
FOLKLORE = (
    ("The order of batch norm and ReLU.", ("relu-order",)),
    ("Xavier's against He's initialization, or AdamW's decay.", ("xavier-he", "weight-decay")),
    (
        "Internal covariate shift: its measure goes either way.",
        ("covariate-shift", "downstream-shift"),
    ),
    ("Batch norm as a cause of overfitting.", ("overfitting",)),
)
PARTS = (
    ("Use it when", USE),
    ("Use something else when", AVOID),
    ("In any case", ALWAYS),
    ("What need not worry you before you have measured it on your task", FOLKLORE),
)


def ten_minutes(verdicts: Mapping[str, Judgement]) -> str:
    """The section as Markdown; behind each advice the verdicts that it rests on, as far as they are known."""
    parts = ["## In ten minutes: when to use batch normalization, when not, and what instead"]
    for title, advice in PARTS:
        lines = [f"- {text}{_ground(names, verdicts)}" for text, names in advice]
        parts += [f"### {title}", "\n".join(lines)]
    return "\n\n".join(parts)


def _ground(names: tuple[str, ...], verdicts: Mapping[str, Judgement]) -> str:
    known = [f"  - [{n}](#{n}): {_told(verdicts[n])}" for n in names if n in verdicts]
    return "".join(f"\n{line}" for line in known)


def _told(found: Judgement) -> str:
    if found.value is None:
        return f"{found.verdict}."
    effect = Effect(found.value, found.low, found.high, found.unit)
    return f"**{found.verdict}**; {found.what}: {effect}."

"""What a reader with ten minutes takes from the lab: when to use batch normalization, when not, and what instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from normscope.lab.claim import Judgement
from normscope.lab.verdicts import Effect


@dataclass(frozen=True, slots=True)
class Advice:
    """`grounds`: the claims that it rests on, and how the verdict of each must begin for it to do so."""

    when: str
    then: str
    grounds: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Part:
    title: str
    columns: tuple[str, str, str]
    advice: tuple[Advice, ...]


SHORT = (
    "Use batch normalization where each update normalizes 16 or more independent images together: networks that begin badly then train, and at larger learning rates. "
    "Take group or layer norm below 8 images and in recurrence, and skip connections before you chain more than twenty norms. A shallow, "
    "well-initialized and tuned network gains about a point by it. Whatever you choose: evaluate with `model.eval()`."
)
USE = Part(
    "When to use it",
    ("your situation", "what to do", "what was measured"),
    (
        Advice(
            "The network has five layers or more, or its weights start at the wrong size.",
            "Batch norm after each layer: it makes such networks trainable. So may better weights, with fewer layers.",
            (
                ("depth-trainability", "holds when"),
                ("poor-initialization", "holds"),
                ("saturation", "holds when"),
            ),
        ),
        Advice(
            "You want large learning rates, or little care in choosing one.",
            "Batch norm, and then do raise the rate: at the old one its benefit is left unused.",
            (("learning-rates", "holds"), ("smoothness", "holds")),
        ),
        Advice(
            "16 images or more are normalized together, drawn independently.",
            "Batch norm is safe. 32 is not too small, and more is not better by itself.",
            (("batch-32", "does not hold"),),
        ),
        Advice(
            "What a layer reads lies on one side of zero, or hardly varies beside its mean.",
            "Standardize the data; where you cannot, batch norm does it inside the network.",
            (("positive-share", "holds when"),),
        ),
    ),
)
AVOID = Part(
    "When not, and what instead",
    ("your situation", "what to do instead", "what was measured"),
    (
        Advice(
            "Fewer than 8 images are normalized together, and the batch cannot grow.",
            "Group norm or layer norm, which do not mind. A shallow network does as well without any norm, at a learning rate of its own. The last layers suffer first.",
            (
                ("small-batch", "holds when"),
                ("group-norm-batch", "holds"),
                ("layer-norm-batch", "holds"),
                ("removing-norm", "holds when"),
                ("layer-depth", "holds when"),
            ),
        ),
        Advice(
            "A recurrence with one set of statistics for all steps.",
            "Layer norm, surely at small batches. Or batch norm with statistics for each step, at 32 images or so.",
            (("recurrent", "holds when"),),
        ),
        Advice(
            "More than twenty norms in a chain without a skip connection.",
            "Skip connections around two layers at a time, each with its norm inside the branch, before the addition.",
            (("gradient-depth", "holds when"), ("addition-order", "holds when")),
        ),
        Advice(
            "Dropout directly before a batch norm or between such layers; or dropout and decay on top of it.",
            "Drop behind the last norm, and less. Add one regularizer at a time.",
            (("dropout-order", "holds when"), ("over-regularization", "holds")),
        ),
    ),
)
ALWAYS = Part(
    "In any case",
    ("your situation", "what to do", "what was measured"),
    (
        Advice(
            "You evaluate or predict.",
            "`model.eval()` before, `model.train()` after: without it a prediction depends on its batch mates.",
            (("forgotten-eval", "holds"), ("simple-cnn", "holds")),
        ),
        Advice(
            "You evaluate after few updates, or after training on small batches.",
            "Give the running averages time, or recompute them: `normscope repair recalibrate`.",
            (("momentum", "holds when"), ("running-averages", "holds")),
        ),
        Advice(
            "You initialize norms yourself.",
            "γ = 1. γ = 0 is for the end of a residual branch alone, where it does no harm; on a plain path nothing is learned.",
            (("zero-gamma", "holds when"), ("overwritten-gamma", "holds when")),
        ),
        Advice(
            "A layer directly before a batch norm has a bias.",
            "Leave it out: fewer parameters, and the same function.",
            (("redundant-bias", "holds when"),),
        ),
    ),
)
FOLKLORE = Part(
    "What need not worry you before you have measured it on your task",
    ("what is said", "what was found", "in numbers"),
    (
        Advice(
            "Batch norm must stand before ReLU.",
            "Half a point for it here; the literature has either sign.",
            (("relu-order", "holds when"),),
        ),
        Advice(
            "The initialization must suit batch norm.",
            "Xavier's and He's make no difference with it; they do without.",
            (("xavier-he", "does not hold"),),
        ),
        Advice(
            "AdamW's small decay steadies training with it.",
            "Not at 0.01. Decay is worth tuning, with batch norm as without.",
            (("weight-decay", "holds when the decay is 1, not 0.01"),),
        ),
        Advice(
            "It overfits on few samples.",
            "Nowhere here. Compare both modes on the same data before you believe it.",
            (("overfitting", "does not hold"),),
        ),
        Advice(
            "Skewed or sparse features harm it.",
            "No harm was sure; on features that hardly vary it is what makes training possible.",
            (("skewed-features", "undecided"),),
        ),
        Advice(
            "A ResNet block is better without it.",
            "Not at 4 or 32 images of small maps; the intervals leave both signs open.",
            (("resnet-block", "undecided"),),
        ),
        Advice(
            "It works by less internal covariate shift.",
            "The measure goes either way, by network; a smoother loss explains more.",
            (("covariate-shift", "holds when"), ("downstream-shift", "holds")),
        ),
    ),
)
PARTS = (USE, AVOID, ALWAYS, FOLKLORE)


def ten_minutes(verdicts: Mapping[str, Judgement]) -> str:
    """The section as Markdown; beside each advice what was measured, as far as that is known."""
    parts = [
        "## In ten minutes: when to use batch normalization, when not, and what instead",
        f"**In short.** {SHORT}",
    ]
    for part in PARTS:
        rows = [
            f"| {a.when} | {a.then} | {_ground(a.grounds, verdicts)} |".replace("  ", " ")
            for a in part.advice
        ]
        head = f"| {' | '.join(part.columns)} |\n|---|---|---|"
        parts += [f"### {part.title}", "\n".join([head, *rows])]
    return "\n\n".join(parts)


def _ground(grounds: tuple[tuple[str, str], ...], verdicts: Mapping[str, Judgement]) -> str:
    told = [_told(name, verdicts[name], begins) for name, begins in grounds if name in verdicts]
    return "<br>".join(told) or "not run"


def _told(name: str, found: Judgement, begins: str) -> str:
    """What was measured, its link, and where these results do not bear the advice out, that."""
    effect = (
        "" if found.value is None else str(Effect(found.value, found.low, found.high, found.unit))
    )
    said = f"{found.what}: {effect}" if effect else found.what
    borne = "" if found.verdict.startswith(begins) else f"; here the verdict is: {found.verdict}"
    return f"{said} ([{name}](#{name})){borne}".replace("|", "\\|")

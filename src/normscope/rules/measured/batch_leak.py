from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from normscope.finding import Finding, Measured, Remedy, Severity
from normscope.probes.answers import Change, Estimate
from normscope.probes.answers.coupling import Coupling, Leak
from normscope.probes.thresholds import FULL_CONFIDENCE, POINT
from normscope.rule import Faulty, Healthy, rule

GRAVE = 5 * POINT  # of error rate: an error from here, a warning from one point on
NATS, GRAVE_NATS = 0.05, 0.25  # of a loss in nats: a warning, an error
SHARE, RATIO, GRAVE_RATIO = 0.05, 0.25, 1.0  # of the loss in the loader's own batches


@rule("NS603", severity="error", since="0.1.0", explains=("NS408", "NS601"))
def batch_leak(coupling: Coupling) -> Iterator[Finding]:
    """The network reads part of its answer off the other samples of the batch.

    ## What it checks
    With batch statistics, fixed weights and dropout off: wrong decisions (or the loss of a sample) in the batches that the training loader composes,
    against the same samples shuffled over batches of the same sizes. Shuffled ones that are worse by more than 1 percentage point and three
    times the noise are a warning, from 5 points on an error. Without decisions: 0.05 and 0.25 nats and at least 5 %, or a quarter and the
    whole of another loss.

    ## Why it matters
    Batch statistics carry what the samples of a batch have in common. If that is the class, the image or the partner in a pair, training finds it
    there: the training score rises, and nothing of it is left in evaluation. On digits in batches of two classes, always the same two together, a small network made 0.1 %
    mistakes in such batches, 17 % in shuffled ones and 19 % with running statistics.

    ## Example
    ```python
    loader = DataLoader(data, batch_sampler=two_classes_a_batch)  # NS603 with a BatchNorm in the model
    ```

    ## Repair
    Shuffle samples over batches, or over devices (regions of one image, the two sides of a contrastive pair); SyncBatchNorm where each device's batch is
    of one kind; or a norm that does not see the batch: GroupNorm, LayerNorm.

    ## Known limits
    Silent when the loader's batches are as good as any: then company tells nothing, however strongly outputs are coupled. Not answered when the loss is one
    number for the batch (contrastive and triplet losses: shuffling changes the task itself), for fewer than four batches,
    and for inputs that cannot be put into other batches. An info where running statistics do as well as the loader's batches: nothing
    is lost in evaluation. What leaks between two forward passes that share a composition is not seen.

    ## References
    - Wu & Johnson, *Rethinking "Batch" in BatchNorm*, 2021, section 6. https://arxiv.org/abs/2105.07576
    - He et al., *Momentum Contrast for Unsupervised Visual Representation Learning*, 2020, section 3.3. https://arxiv.org/abs/1911.05722
    """
    leak = coupling.leak
    if leak is None:
        return
    kind, change, running = (
        ("error", leak.error, leak.running_error)
        if leak.error is not None
        else ("loss", leak.loss, leak.running_loss)
    )
    severity = None if change is None else _severity(kind, leak.unit, change, running)
    if severity is None or change is None:
        return
    yield _finding(coupling, leak, kind, change, running, severity)


def _severity(kind: str, unit: str, change: Change, running: float | None) -> Severity | None:
    rise, before = change.rise, change.before
    if not rise.value > 3 * rise.noise:
        return None
    if kind == "error":
        least, grave = POINT, GRAVE
    elif unit == "nats":
        least, grave = max(NATS, SHARE * abs(before)), max(GRAVE_NATS, SHARE * abs(before))
    else:
        least, grave = RATIO * abs(before), GRAVE_RATIO * abs(before)
    if not rise.value > least:
        return None
    if running is not None and running <= before + least:
        return "info"
    return "error" if rise.value >= grave else "warning"


def _finding(
    coupling: Coupling,
    leak: Leak,
    kind: str,
    change: Change,
    running: float | None,
    severity: Severity,
) -> Finding:
    def say(value: float) -> str:
        return f"{value:.1%}" if kind == "error" else f"{value:.3g}"

    what = "wrong decisions" if kind == "error" else "a loss of"
    after = f", and {say(running)} with running statistics" if running is not None else ""
    unit = "share of samples" if kind == "error" else leak.unit
    bar = max(POINT if kind == "error" else 0.0, 3 * change.rise.noise)
    return Finding(
        f"`{coupling.name}` reads part of its answer off its batch mates: with batch statistics {what} {say(change.before)} in the batches "
        f"that the loader composes, {say(change.after)} when the same samples are shuffled over batches{after}. Compose training "
        "batches at random, or use GroupNorm.",
        severity=severity,
        confidence="high" if leak.samples >= FULL_CONFIDENCE and leak.batches >= 8 else "medium",
        model=coupling.name,
        measured=(
            Measured(
                f"{kind}: shuffled − composed batches",
                change.rise.value,
                unit,
                high=bar,
                noise=change.rise.noise,
            ),
        ),
        repairs=(
            Remedy("shuffle", "changes-function", "`DataLoader(..., shuffle=True)`"),
            Remedy(
                "group-norm",
                "changes-function",
                "`nn.GroupNorm(groups, channels)` in place of the batch norms, and train again",
            ),
        ),
    )


def _tested(
    before: float,
    after: float,
    noise: float = 0.003,
    running: float | None = 0.3,
    kind: str = "error",
    **more: Any,
) -> Mapping[str, object]:
    facts: dict[str, Any] = {"samples": 1500, "batches": 40, "shuffles": 4, "unit": "nats"}
    facts |= {
        kind: Change(before, after, Estimate(after - before, noise)),
        f"running_{kind}": running,
    }
    leak = Leak(**(facts | more))
    return {"coupling": Coupling(model=0, name="Net", batch=32, pairs=20, floor=0.0, leak=leak)}


_UNTESTED = {"coupling": Coupling(model=0, name="Net", batch=32, pairs=20, floor=0.0, note="-")}

CASES = (
    Faulty("sorted batches", (), measured=_tested(0.02, 0.3), severity="error"),
    Faulty("five points", (), measured=_tested(0.02, 0.0701), severity="error"),
    Faulty("below five points", (), measured=_tested(0.02, 0.0699), severity="warning"),
    Faulty("just above a point", (), measured=_tested(0.02, 0.031), severity="warning"),
    Faulty(
        "above three times its noise", (), measured=_tested(0.1, 0.131, 0.01), severity="warning"
    ),
    Faulty(
        "a loss in nats",
        (),
        measured=_tested(0.5, 0.56, running=0.9, kind="loss"),
        severity="warning",
    ),
    Faulty(
        "a loss in nats, much",
        (),
        measured=_tested(0.5, 0.76, running=0.9, kind="loss"),
        severity="error",
    ),
    Faulty(
        "another loss",
        (),
        measured=_tested(8.0, 10.1, 0.1, running=12.0, kind="loss", unit="loss"),
        severity="warning",
    ),
    Faulty(
        "another loss, doubled",
        (),
        measured=_tested(8.0, 16.1, 0.1, running=17.0, kind="loss", unit="loss"),
        severity="error",
    ),
    Faulty(
        "running statistics unknown",
        (),
        measured=_tested(0.02, 0.3, running=None),
        severity="error",
    ),
    Healthy("batches at random", measured=_tested(0.02, 0.021)),
    Healthy("a point at most", measured=_tested(0.02, 0.0299)),
    Healthy("within the noise", measured=_tested(0.1, 0.129, 0.01)),
    Healthy("shuffled batches are better: sorted only now", measured=_tested(0.3, 0.02)),
    Healthy(
        "nothing is lost in evaluation: batches of P classes with K samples on purpose",
        measured=_tested(0.02, 0.06, running=0.0299),
        at_most="info",
    ),
    Healthy("a loss in nats, little", measured=_tested(0.5, 0.549, running=0.9, kind="loss")),
    Healthy(
        "a loss in nats, little beside the whole",
        measured=_tested(3.0, 3.14, running=4.0, kind="loss"),
    ),
    Healthy(
        "another loss, a fifth",
        measured=_tested(8.0, 9.9, 0.1, running=12.0, kind="loss", unit="loss"),
    ),
    Healthy("not a number", measured=_tested(0.02, float("nan"))),
    Healthy("one loss for the batch: not tested", measured=_UNTESTED),
    Healthy("neither decisions nor loss", measured=_tested(0, 0, kind="error", error=None)),
)

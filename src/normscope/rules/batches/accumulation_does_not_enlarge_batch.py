from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from normscope.concepts.wording import batch_norms
from normscope.finding import Finding, Measured, Remedy
from normscope.graph.model import Site
from normscope.record.recording import Layer, Model, Recording
from normscope.rule import Faulty, Healthy, rule

ENOUGH = 16  # samples per group: ImageNet top-1 error 23.7 % at 16 and 23.6 % at 32 (Wu & He 2018)


@rule("NS303", severity="error", since="0.1.0", explains=("NS301",), alone=False)
def accumulation_does_not_enlarge_batch(recording: Recording) -> Iterator[Finding]:
    r"""Gradients are accumulated over batches that are too small for batch statistics by themselves.

    ## What it checks
    Layers that normalize fewer than 16 samples at a time (median $n$ over the training forwards) in a loop in which one line
    runs $k \ge 2$ training forwards on different inputs for every step, so that $k \cdot n \ge 16$: the gradient is
    that of a sufficient batch, the statistics are not.

    ## Why it matters
    Accumulation averages gradients, but each forward is normalized by the mean and variance of its own $n$ samples: the noise of
    the mean stays $\sigma/\sqrt{n}$. Measured on digits with 16 × 2 samples per step: 59 % test accuracy,
    where 1 × 32 gives 96 %. The running statistics move $k$ times per step besides, so that momentum α acts as 1 − (1 − α)^k.

    ## Example
    ```python
    for i, (x, y) in enumerate(loader):  # NS303: batches of 2 …
        (loss_of(model(x), y) / 16).backward()
        if i % 16 == 15:  # … are 32 to the optimizer, and still 2 to every batch norm
            optimizer.step()
    ```

    ## Repair
    GroupNorm, which does not depend on the batch; or batches of 16 and more with fewer of them accumulated.

    ## Known limits
    It only names the cause of small batches, with their severity: silent when NS301 is. Silent when the forwards of a step come
    from different lines (a discriminator's real and generated batch), repeat their input (SAM, LBFGS), when all of them
    precede a single step (a copy that is adapted to one task), or when even all of them together are fewer than 16 samples.

    ## References
    - Wu & He, *Group Normalization*, 2018, section 4.1. https://arxiv.org/abs/1803.08494
    - Wu & Johnson, *Rethinking "Batch" in BatchNorm*, 2021, section 3. https://arxiv.org/abs/2105.07576
    """
    for model in recording.models.values():
        layers = [
            x
            for x in recording.layers.values()
            if x.model == model.id and x.kind == "batch" and not x.synchronized
        ]
        if found := [a for x in layers if (a := _accumulated(recording, x))]:
            yield _finding(model, found)


@dataclass(frozen=True, slots=True)
class _Accumulated:
    """What one layer sees at a time, and how often per step."""

    layer: Layer
    samples: int  # median over training forwards
    per_step: float  # training forwards from the busiest line
    forwards: int
    site: Site | None


def _accumulated(recording: Recording, layer: Layer) -> _Accumulated | None:
    lines: dict[Site | None, list[int]] = {}  # forwards, steps, repeated inputs
    sizes: Counter[int] = Counter()
    for span, pattern, call in recording.calls(layer.id, "training"):
        if call.updates and call.samples and not call.recomputed:
            told = lines.setdefault(pattern.site, [0, 0, 0])
            told[:] = told[0] + span.forwards, told[1] + span.steps, told[2] + span.same_input
            sizes[call.samples] += span.forwards
    if not sizes:
        return None
    site, (forwards, steps, same) = max(lines.items(), key=lambda line: line[1][0])
    samples, per_step = _median(sizes), forwards / max(steps, 1)
    if steps < 2 or per_step < 2 or 2 * same >= forwards:
        return None
    if samples >= ENOUGH or samples * per_step < ENOUGH:
        return None
    return _Accumulated(layer, samples, per_step, forwards, site)


def _median(counts: Counter[int]) -> int:
    """The value in the middle, when all are lined up by size."""
    half = counts.total() / 2
    for value in sorted(counts):
        half -= counts[value]
        if half <= 0:
            return value
    raise ValueError("no values")


def _finding(model: Model, found: list[_Accumulated]) -> Finding:
    least = min(found, key=lambda a: a.samples)
    count = batch_norms(len(found))
    samples = "1 sample" if least.samples == 1 else f"{least.samples} samples"
    together = round(least.samples * least.per_step)
    return Finding(
        f"{least.per_step:.3g} forwards of `{model.name}` are accumulated for each step, {together} samples in all, but "
        f"{count} still {'normalizes' if len(found) == 1 else 'normalize'} {samples} at a time: accumulating does not enlarge "
        "the batch of batch norm. Use GroupNorm, or larger batches and fewer of them.",
        severity="warning",
        confidence="high" if least.forwards >= 10 else "medium",
        model=model.name,
        layers=tuple(a.layer.path for a in found),
        site=least.site,
        measured=(
            Measured("samples per normalization group", least.samples, "samples", low=ENOUGH),
            Measured("training forwards per step", least.per_step, "forwards", high=1.0),
        ),
        repairs=(
            Remedy("group-norm", "changes-function", "`nn.GroupNorm(groups, channels)`"),
            Remedy(
                "larger-batch",
                "changes-function",
                "`DataLoader(..., batch_size=32, drop_last=True)`",
            ),
        ),
    )


CASES = (
    Faulty(
        "sixteen times two", ("a", "b"), story="layer a; layer b; train a,b batch=2 x1600 steps=100"
    ),
    Faulty("two times eight", ("a",), story="layer a; train a batch=8 x200 steps=100"),
    Faulty(
        "only the norm on vectors is short of samples",
        ("a",),
        story="layer a; layer b; train a batch=2 x1600 steps=100; train b batch=32 x100",
    ),
    Healthy("all before a single step", story="layer a; train a batch=5 x9 steps=1"),
    Faulty("before each of two steps", ("a",), story="layer a; train a batch=5 x18 steps=2"),
    Healthy("small, and not accumulated", story="layer a; train a batch=2 x500"),
    Healthy("large enough by itself", story="layer a; train a batch=16 x800 steps=100"),
    Healthy("not enough even together", story="layer a; train a batch=2 x400 steps=100"),
    Healthy("the same input twice (SAM)", story="layer a; train a batch=8 x200 steps=100 same=100"),
    Healthy(
        "synchronized over ranks",
        story="layer a synchronized=True; train a batch=2 x1600 steps=100",
    ),
    Healthy(
        "statistics in evaluation mode", story="layer a; train a mode=eval batch=2 x1600 steps=100"
    ),
    Healthy(
        "group norm",
        story="layer a kind='group' tracks=False; train a updates=False batch=2 x1600 steps=100",
    ),
)

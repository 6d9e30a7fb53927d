from __future__ import annotations

from collections.abc import Iterator

from normscope.concepts.contrast import Told, told_apart
from normscope.finding import Finding, Remedy
from normscope.probes.results import Gap, Reading
from normscope.record.recording import Contrast, Layer, Recording
from normscope.rule import Faulty, Healthy, rule


@rule("NS305", severity="error", since="0.1.0", explains=("NS408", "NS601"))
def mixed_distributions(recording: Recording) -> Iterator[Finding]:
    r"""Several forwards of one step bring batches of different distribution to the same batch norms.

    ## What it checks
    Layers that several training forwards of one step reach: real and generated batches, source and target domain, labelled and
    unlabelled, clean and attacked samples. On sampled steps the running statistics are read around each call,
    which gives back each call's batch mean $m$ and variance $v$. Over $n \ge 8$ steps, the paired differences between a later forward and
    the first, $(m' - m)/\sqrt{(v + v')/2}$ and $\ln(v'/v)$, must be systematic ($t > 5 + 75/(n - 1)$, pooled over
    channels: chance exceeds it once in a million) and large: 0.5 standard deviations rms over channels, and twice
    $\sqrt{2/N}$, by which two random batches of $N$ samples differ; or a factor of 2 between variances. By itself it is an info. It is a warning
    where the script evaluates the model with running statistics and the gap probe measures that these, or recomputed ones, do
    worse than batch statistics; as the cause of a worse finding it takes over its severity.

    ## Why it matters
    In training each batch is normalized by itself, so that the network never sees what tells the distributions apart. The running
    statistics average over all of them, the latest weighing most, and their variance leaves out that between the means: for means
    −3 and +3 and variance 1, one forward each gives a running variance of 1 where the mixture has 10. Evaluation with them
    fits neither. Measured: digits with a second domain in a forward of its own fall from 96 % to 66 % on the first domain, pulses with
    attacked batches from 94 % to 23 %.

    ## Example
    ```python
    loss = criterion(model(source), labels) + entropy(model(target))  # NS305: two forwards, two distributions
    loss.backward()
    ```

    ## Repair
    Batch norms of its own for each distribution (domain-specific or auxiliary batch norm), of which evaluation uses the right one; one forward of
    the concatenated batch, where evaluation meets such a mixture; or GroupNorm. Where only one distribution is
    evaluated, statistics recomputed on that one.

    ## Known limits
    Silent when the forwards' batches are exchangeable (accumulation, two views), repeat their input (sharpness-aware minimization: NS405), or run without
    gradients; when the distributions take turns from step to step; when fewer than eight steps were sampled; and when the statistics of
    single calls cannot be recovered (half-precision buffers, tiny momentum, compiled or synchronized layers). A discriminator that is never evaluated is an info.
    Each layer's first twelve calls a step are told apart. Calibrated on 192 seeded
    healthy runs of 16 kinds with several calls a step (accumulation, two views, siamese and triplet networks, clips, labelled and unlabelled
    batches, sharpness-aware minimization, LBFGS, the same unshuffled parts at every step): none was flagged, no difference was larger than 0.8
    of its bound, and no t than 0.9 of its own where batches are drawn at random.

    ## References
    - Li et al., *Revisiting Batch Normalization For Practical Domain Adaptation*, 2016. https://arxiv.org/abs/1603.04779
    - Xie et al., *Adversarial Examples Improve Image Recognition*, 2020, section 3.2. https://arxiv.org/abs/1911.09665
    - Wu & Johnson, *Rethinking "Batch" in BatchNorm*, 2021, section 5. https://arxiv.org/abs/2105.07576
    """
    for told in told_apart(recording, _another_forward):
        yield _finding(told)


def _another_forward(_: Layer, c: Contrast) -> bool:
    return c.forward > 0 and c.position == 0


def _finding(told: Told) -> Finding:
    layer, widest = told.found[0]
    lines = dict.fromkeys(str(s) for s in (widest.site_first, widest.site) if s is not None)
    where = f" ({' and '.join(lines)})" if len(lines) > 1 else ""
    others = len(told.layers) - 1
    more = "" if not others else f" (and {others} more)"
    return Finding(
        f"Forwards of `{told.model.name}` in the same step{where} bring different distributions to `{layer.path or layer.type}`{more}: "
        f"{told.difference()}. Each is normalized by itself in training, and the running statistics mix them.{told.cost()} "
        "Give each distribution batch norms of its own, or concatenate the batches.",
        severity=told.severity,
        confidence="high" if told.severity == "warning" else "medium",
        model=told.model.name,
        layers=told.layers,
        site=widest.site,
        measured=told.measured(),
        repairs=(
            Remedy(
                "norm-per-domain",
                "changes-function",
                "`nn.ModuleDict({domain: nn.BatchNorm2d(channels) for domain in domains})`",
            ),
            Remedy(
                "one-forward",
                "changes-function",
                "`model(torch.cat([source, target])).split(len(source))`",
            ),
        ),
    )


def _gap(batch: float, population: float, running: float, **more: object) -> dict[str, object]:
    facts: dict[str, object] = {"measure": "error", "unit": "1", "relied_on": True}
    return {
        "gap": Gap(
            model=0,
            name="Net",
            samples=2000,
            batches=32,
            batch=Reading(batch, 0.003),
            population=Reading(population, 0.003),
            running=Reading(running, 0.003),
            stale=Reading(running - population, 0.003),
            inconsistent=Reading(population - batch, 0.003),
            **(facts | more),  # pyright: ignore[reportArgumentType]
        )
    }


_STALE = _gap(0.02, 0.02, 0.35)
_RUN = "layer a; layer b; train a,b x200 steps=100; "

CASES = (
    Faulty(
        "source and target, and source is lost",
        ("a", "b"),
        story=_RUN + "contrast a mean=1.9; contrast b log_var=0.8",
        measured=_STALE,
        severity="warning",
    ),
    Faulty(
        "batches rely on what tells them apart",
        ("a",),
        story=_RUN + "contrast a mean=0.6",
        measured=_gap(0.02, 0.3, 0.3),
        severity="warning",
    ),
    Faulty(
        "a generator's batches in a discriminator that nobody evaluates",
        ("a",),
        story=_RUN + "contrast a mean=1.9",
        measured=_gap(0.02, 0.02, 0.35, relied_on=False),
        severity="info",
    ),
    Faulty(
        "it costs nothing",
        ("a",),
        story=_RUN + "contrast a mean=1.9",
        measured=_gap(0.02, 0.02, 0.02),
        severity="info",
    ),
    Faulty("nothing was probed", ("b",), story=_RUN + "contrast b log_var=0.8", severity="info"),
    Healthy(
        "accumulated batches",
        story=_RUN
        + "contrast a mean=0.03 mean_t=1.1 log_var=0.0 log_var_t=0.4; contrast a forward=2 mean_t=2.9",
        measured=_STALE,
    ),
    Healthy(
        "the same input twice (SAM)",
        story=_RUN + "contrast a mean=0.8 steps=40 same_input=20",
        measured=_STALE,
    ),
    Healthy("certain, but small", story=_RUN + "contrast a mean=0.45 log_var=0.6", measured=_STALE),
    Healthy(
        "large, but not certain",
        story=_RUN + "contrast a mean=0.8 mean_t=7.4 log_var=0.9 log_var_t=7.4",
        measured=_STALE,
    ),
    Healthy(
        "seven sampled steps",
        story=_RUN + "contrast a mean=1.9 mean_t=90.0 steps=7",
        measured=_STALE,
    ),
    Healthy(
        "no more than batches of eight differ by",
        story=_RUN + "contrast a mean=0.9 samples=8",
        measured=_STALE,
    ),
    Healthy(
        "two calls in one forward are another rule's",
        story=_RUN + "contrast a position=1 mean=1.9",
        measured=_STALE,
    ),
    Healthy("no later call was sampled", story=_RUN, measured=_STALE),
)

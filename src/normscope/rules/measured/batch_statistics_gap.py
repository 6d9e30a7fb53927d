from __future__ import annotations

from collections.abc import Iterator

from normscope.finding import Finding, Measured, Remedy
from normscope.probes import thresholds
from normscope.probes.results import Gap, Reading
from normscope.rule import Faulty, Healthy, rule

SHUFFLE = Remedy(
    "shuffle", "changes-function", "`DataLoader(..., shuffle=True)` with a batch of 16 or more"
)
SAME_AVERAGES = Remedy(
    "correct by the averages of evaluation",
    "changes-function",
    "BatchNormalization(momentum=m, renorm=True, renorm_momentum=m, ...)",
)


@rule("NS601", severity="error", since="0.1.0", explains=("NS408",))
def batch_statistics_gap(gap: Gap) -> Iterator[Finding]:
    """The network works only with each batch's own statistics, not with those of the population.

    ## What it checks
    With fixed weights, dropout off and the same training data, the loss or the error rate with
    recomputed population statistics (B), or with the running ones where those serve better, against the one with each batch's own
    statistics (A). B − A counts
    above three times its noise and above one percentage point of error rate (an error from 5; without targets for
    a decision: 0.05 nats, or a quarter of another loss).

    ## Why it matters
    Recomputed statistics are the best that evaluation can use. If they are worse than the batch's own, the network
    has learned to rely on what a batch reveals: its small size, its common class, its domain, or one layer that
    sees several kinds of input. More training data or recalibration will not close that gap.

    ## Example
    ```python
    loader = DataLoader(sorted_by_class, batch_size=32)  # each batch tells its own class
    # error on training data: 1 % with batch statistics, 40 % with recomputed ones
    ```

    ## Repair
    Make training batches look like the population: shuffle, enlarge them, or give each kind of input its own
    forward and layer. Or train with what does not depend on the batch: GroupNorm, or frozen statistics for the last fifth of training.
    Where batch renormalization corrects by averages of their own momentum (Keras' `renorm_momentum`), the network has learned to
    rely on those: give them the momentum of the moving statistics.

    ## Known limits
    It names the symptom; the cause is named by the rule that explains it, where there is one. It explains stale running
    statistics, because an average of such batches cannot be right; where those cost more than twice as much, it is an info. At two or three
    samples per batch A is itself the worst of the three (2 samples leave only the sign of their difference), so
    silence there means nothing. 0 alarms in 270 seeded healthy variations (less than 1.1 % with 95 % confidence;
    `benchmarks/calibration.py`). Silent where A, B and C agree, and where only outputs could be compared.

    ## References
    - Wu & Johnson, *Rethinking "Batch" in BatchNorm*, 2021, section 4. https://arxiv.org/abs/2105.07576
    - Singh & Shrivastava, *EvalNorm*, 2019. https://arxiv.org/abs/1904.06031
    """
    severity = thresholds.inconsistency(gap)
    if severity is None or gap.batches < 2:
        return
    if thresholds.staleness_outweighs(gap) and thresholds.staleness(gap) is not None:
        severity = "info"
    best = "running" if thresholds.runs_better(gap) else "recomputed population"
    gap = thresholds.at_best(gap)
    word = "error rate" if gap.measure == "error" else "loss"
    lost = ""
    if gap.error_batch is not None and gap.error_population is not None and gap.measure == "loss":
        lost = f", error rate {gap.error_batch:.1%} and {gap.error_population:.1%}"
    corrected = bool(gap.corrected_layers)
    relies = (
        "on corrections that evaluation does not make"
        if corrected
        else "on each batch's own statistics"
    )
    yield Finding(
        f"`{gap.name}` relies {relies}: on the same training data its {word} is {gap.batch.value:.3g} "
        f"with them and {gap.population.value:.3g} with {best} statistics{lost}. {_advice(gap.corrected_layers)}",
        severity=severity,
        confidence=thresholds.confidence(gap),
        model=gap.name,
        layers=gap.corrected_layers,
        measured=_measured(gap, word, best.split()[0]),
        repairs=(SAME_AVERAGES if corrected else SHUFFLE,),
    )


def _advice(corrected: tuple[str, ...]) -> str:
    if not corrected:
        return (
            "Recalibration cannot mend this: make the batches like the population (shuffle, enlarge), or use "
            "GroupNorm."
        )
    first, *others = corrected
    return (
        f"`{first}`{', …' if others else ''} renormalized by averages of another momentum than that of the running statistics. Give both one "
        "momentum and train again."
    )


def _measured(gap: Gap, word: str, best: str) -> tuple[Measured, ...]:
    rises = [(word, gap.inconsistent, gap.unit)]
    if gap.measure == "loss" and gap.inconsistent_error:
        rises.append(("error rate", gap.inconsistent_error, "share of samples"))
    return tuple(
        Measured(
            f"{what}: {best} − batch statistics", r.value, unit, high=3 * r.noise, noise=r.noise
        )
        for what, r, unit in rises
    )


def _gap(a: float, b: float, noise: float = 0.005, **more: object) -> dict[str, object]:
    facts: dict[str, object] = {"measure": "error", "unit": "1", "samples": 2000, "batches": 32}
    stale = more.pop("stale", None)
    stale = stale if isinstance(stale, Reading) else Reading(0.0, noise)
    return {
        "gap": Gap(
            model=0,
            name="Net",
            batch=Reading(a, noise),
            population=Reading(b, noise),
            running=Reading(b + stale.value, noise),
            stale=stale,
            inconsistent=Reading(b - a, noise),
            **(facts | more),  # pyright: ignore[reportArgumentType]
        )
    }


CASES = (
    Faulty("sorted batches", (), measured=_gap(0.01, 0.4), severity="error"),
    Faulty(
        "loss and decisions",
        (),
        measured=_gap(
            0.1, 1.4, measure="loss", unit="nats", error_batch=0.02, error_population=0.3
        ),
    ),
    Faulty(
        "a heavy-tailed loss hides in its noise what decisions show",
        (),
        measured=_gap(
            0.4,
            19.6,
            noise=18.0,
            measure="loss",
            unit="nats",
            error_batch=0.15,
            error_population=0.5,
            inconsistent_error=Reading(0.35, 0.02),
        ),
        severity="error",
    ),
    Healthy(
        "running statistics are much worse still",
        measured=_gap(0.02, 0.08, stale=Reading(0.5, 0.01)),
        at_most="info",
    ),
    Faulty(
        "renormalized by averages that lag behind",
        ("a",),
        measured=_gap(0.06, 0.34, stale=Reading(0.3, 0.01), corrected_layers=("a",)),
        severity="error",
    ),
    Healthy(
        "renormalized by averages that lag behind, as do the running ones",
        measured=_gap(0.11, 0.36, stale=Reading(-0.25, 0.01), corrected_layers=("a",)),
    ),
    Faulty(
        "running statistics are better than recomputed ones, and bad",
        (),
        measured=_gap(0.01, 0.4, stale=Reading(-0.2, 0.01)),
        severity="error",
    ),
    Healthy(
        "running statistics are as good as the batch's",
        measured=_gap(0.01, 0.4, stale=Reading(-0.38, 0.01)),
        at_most="info",
    ),
    Healthy(
        "nobody evaluates it with running statistics",
        measured=_gap(0.01, 0.4, relied_on=False),
        at_most="info",
    ),
    Healthy("not a number", measured=_gap(0.02, float("nan"))),
    Healthy("all agree", measured=_gap(0.02, 0.02)),
    Healthy("below one point", measured=_gap(0.02, 0.028, noise=0.001)),
    Healthy("within the noise", measured=_gap(0.1, 0.13, noise=0.02)),
    Healthy("population statistics are better", measured=_gap(0.2, 0.05)),
    Healthy(
        "loss a little higher, same decisions",
        measured=_gap(
            0.02, 0.05, measure="loss", unit="nats", error_batch=0.004, error_population=0.005
        ),
    ),
)

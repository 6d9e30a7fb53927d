from __future__ import annotations

from collections.abc import Iterator

from normscope.finding import Finding, Measured
from normscope.probes import thresholds
from normscope.probes.results import Gap, Reading
from normscope.rule import Faulty, Healthy, rule


@rule("NS604", severity="info", since="0.1.0")
def not_normalization(gap: Gap) -> Iterator[Finding]:
    """Normalization does not explain a gap between training and evaluation.

    ## What it checks
    The gap probe asked the trained model three times about the same training data, with fixed
    weights and dropout off: normalized with each batch's own statistics, with recomputed population
    statistics, and with the running statistics that evaluation uses. All three answers agree up to noise: no difference worth a remark is above twice its own.

    ## Why it matters
    Batch normalization is the usual suspect when training looks good and evaluation does not. When the
    three agree on *training* data, the rest of the difference is generalization, the data or the
    metric, and changing normalization will not mend it. A clear "no" saves the search.

    ## Example
    ```python
    net.eval()
    loss_fn(net(test_x), test_y)  # 1.9, after a training loss of 0.02
    loss_fn(net(train_x), train_y)  # 0.02 too: overfitting or other data, not BatchNorm
    ```

    ## Repair
    None in the normalization. Look at the amount of data, augmentation, weight decay, the evaluation
    data and the metric.

    ## Known limits
    Silent when a layer uses batch statistics in evaluation, because then the running statistics do not
    tell what evaluation does. It speaks of the state at the end of the run, and of training data: a shift in
    the evaluation data is another matter.

    ## References
    - Wu & Johnson, *Rethinking "Batch" in BatchNorm*, 2021, sections 3 and 4. https://arxiv.org/abs/2105.07576
    """
    if not thresholds.acquits(gap) or gap.coupled_layers or gap.batches < 2:
        return
    yield Finding(
        _message(gap),
        confidence=thresholds.confidence(gap) if gap.measure != "output" else "low",
        model=gap.name,
        measured=tuple(
            Measured(f"{gap.measure} with {name} statistics", r.value, gap.unit, noise=r.noise)
            for name, r in _readings(gap)
        ),
    )


def _readings(gap: Gap) -> tuple[tuple[str, Reading], ...]:
    return ("batch", gap.batch), ("recomputed", gap.population), ("running", gap.running)


def _message(gap: Gap) -> str:
    if gap.measure == "output":
        return (
            f"Normalization does not explain a gap: with running statistics the outputs of `{gap.name}` differ "
            f"from those with recomputed ones by {gap.running.value:.2g} standard deviations "
            f"({gap.population.value:.2g} between two halves of the data)."
        )
    numbers = ", ".join(f"{r.value:.3g}" for _, r in _readings(gap))
    what = "error rates of" if gap.measure == "error" else "losses of"
    return (
        "Normalization does not explain a gap: on the same training data batch, recomputed and running "
        f"statistics give {what} {numbers}."
    )


def _gap(
    a: float = 0.02, b: float = 0.02, c: float = 0.02, noise: float = 0.002, **more: object
) -> dict[str, object]:
    facts: dict[str, object] = {
        "measure": "loss",
        "unit": "nats",
        "samples": 2000,
        "batches": 32,
        "confidence": "high",
    }
    return {
        "gap": Gap(
            model=0,
            name="Net",
            batch=Reading(a, noise),
            population=Reading(b, noise),
            running=Reading(c, noise),
            stale=Reading(c - b, noise),
            inconsistent=Reading(b - a, noise),
            **(facts | more),  # pyright: ignore[reportArgumentType]
        )
    }


CASES = (
    Faulty("all three agree", (), measured=_gap()),
    Faulty("agree in error rate", (), measured=_gap(measure="error", unit="1")),
    Healthy("running statistics are worse", measured=_gap(c=1.2)),
    Healthy("population statistics are worse", measured=_gap(b=1.2, c=1.2)),
    Healthy("worse by 2.7 times the noise", measured=_gap(a=0.29, b=0.298, c=0.5, noise=0.075)),
    Faulty(
        "worse by less than twice the noise", (), measured=_gap(a=0.29, b=0.298, c=0.5, noise=0.12)
    ),
    Healthy("evaluation uses batch statistics", measured=_gap(coupled_layers=("bn",))),
    Healthy("one batch only", measured=_gap(batches=1)),
)

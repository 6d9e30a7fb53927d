from __future__ import annotations

from collections.abc import Iterator

from normscope.finding import Finding, Measured, Remedy, Severity
from normscope.probes.answers.batch_size import Interval
from normscope.probes.answers.regularization import Effect, Regularization, strongest
from normscope.rule import Faulty, Healthy, rule

HIGH = 0.2  # of what the best constant answer loses: below that the training data are learned
WRONG = 0.05  # share of wrong decisions on training data, where decisions are known
LOT = 0.1  # of the loss, gained in a few steps without the regularizer

REMEDIES = {
    "dropout": Remedy(
        "less-dropout", "changes-function", "a lower rate, as in `nn.Dropout(0.2)`, or none"
    ),
    "batch noise": Remedy(
        "larger-batch", "changes-function", "`DataLoader(..., batch_size=32, drop_last=True)`"
    ),
    "weight decay": Remedy(
        "less-weight-decay", "changes-function", "`torch.optim.SGD(..., weight_decay=1e-4)`"
    ),
}


@rule("NS605", severity="warning", since="0.1.0")
def over_regularized(regularization: Regularization) -> Iterator[Finding]:
    """The network underfits, and a regularizer is why.

    ## What it checks
    Copies of the model were trained on for a few steps: with everything on, without dropout, without the noise of batch statistics,
    without weight decay. It fires when the training loss of the weights alone (dropout off, recomputed statistics) is still at least
    20 % of what the best constant answer would lose, at least 5 % of the decisions on training data are wrong where decisions are known, and
    training without one regularizer lowers that loss by 10 % or more against training with all of them, by more than the same steps with
    all of them gained, outside the 95 % interval. A warning needs the held-out loss to fall too, outside its interval; without
    held-out data, or within that interval, it is an info.

    ## Why it matters
    Batch normalization regularizes by itself: each batch's statistics are noise. Dropout and weight decay come on top, and what each
    does alone does not tell what they do together. A network that cannot fit its training data gains nothing from being
    kept from it. ResNet-50 with weight normalization, which has no such noise, fits ImageNet's training data better than with BatchNorm and
    loses about 6 points on test data: noise pays where there is overfitting to prevent, and only there.

    ## Example
    ```python
    nn.Sequential(nn.Linear(64, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Dropout(0.7), nn.Linear(48, 10))
    optim.SGD(model.parameters(), 0.05, weight_decay=0.1)  # NS605: loss 1.8 on training data that are easy
    ```

    ## Repair
    Less of the named regularizer: a lower dropout rate, a smaller weight decay, a larger batch. The page of the probe tells
    what each one costs.

    ## Known limits
    A few steps tell the direction, not where training would end. It speaks of the state that was handed over: early in training every
    loss is high, so it is silent while the loss falls faster with everything on than it gains by the change. Silent when held-out loss
    rises, when the training data are learned, where the loss of a constant answer is not known (losses other than cross entropy of
    class numbers and squared error), and for weight decay unless the setup gives it.

    ## References
    - Luo et al., *Towards Understanding Regularization in Batch Normalization*, 2019, section 3. https://arxiv.org/abs/1809.00846
    - Gitman & Ginsburg, *Comparison of Batch Normalization and Weight Normalization*, 2017, section 4. https://arxiv.org/abs/1709.08145
    - Li et al., *Understanding the Disharmony between Dropout and Batch Normalization*, 2019, section 3. https://arxiv.org/abs/1801.05134
    """
    answer, effect = regularization, strongest(regularization)
    if effect is None or answer.constant is None or not _underfits(answer, answer.constant):
        return
    gained = -effect.train.value
    if effect.train.high >= 0 or gained < LOT * answer.loss or gained <= answer.start - answer.loss:
        return
    severity = _severity(effect)
    if severity is None:
        return
    held_out = (
        ""
        if effect.held_out is None
        else f", and the held-out loss by {effect.held_out.value:+.2g}"
    )
    wrong = "" if answer.error is None else f" and {answer.error:.0%} of its decisions wrong"
    yield Finding(
        f"`{answer.name}` underfits: on training data its loss is {answer.start:.2g}{wrong}, where the best constant answer loses "
        f"{answer.constant:.2g}. {answer.steps} training steps without {effect.regularizer} change it by {effect.train.value:+.2g} "
        f"against the same steps with it{held_out}. Use less {effect.regularizer}.",
        severity=severity,
        confidence="high" if answer.samples >= 1000 and answer.seeds >= 6 else "medium",
        model=answer.name,
        measured=(
            Measured("training loss", answer.loss, answer.unit, high=HIGH * answer.constant),
            *_measured("training", effect.train, answer.unit, -LOT * answer.loss),
            *_measured("held-out", effect.held_out, answer.unit, None),
        ),
        repairs=(REMEDIES[effect.regularizer],),
    )


def _underfits(answer: Regularization, constant: float) -> bool:
    learned = answer.error is not None and answer.error < WRONG
    return not learned and min(answer.start, answer.loss) >= HIGH * constant


def _severity(effect: Effect) -> Severity | None:
    if effect.held_out is None:
        return "info"
    if effect.held_out.value >= 0:
        return None
    return "warning" if effect.held_out.high < 0 else "info"


def _measured(
    where: str, change: Interval | None, unit: str, low: float | None
) -> tuple[Measured, ...]:
    if change is None:
        return ()
    noise = (change.high - change.low) / 4
    return (Measured(f"{where} loss: without − with", change.value, unit, low=low, noise=noise),)


def _around(value: float, half: float = 0.02) -> Interval:
    return Interval(value, value - half, value + half)


def _answer(
    train: float,
    held_out: float | None = -0.2,
    *,
    regularizer: str = "dropout",
    half: float = 0.02,
    **more: object,
) -> dict[str, object]:
    facts: dict[str, object] = {
        "start": 1.8,
        "loss": 1.8,
        "constant": 2.3,
        "error": 0.3,
        "samples": 1024,
        "unit": "nats",
    }
    there = None if held_out is None else _around(held_out, half)
    facts["effects"] = (
        Effect("weight decay", _around(0.0), _around(0.0)),
        Effect(regularizer, _around(train, half), there),
    )
    return {
        "regularization": Regularization(
            model=0,
            name="Net",
            held_out_samples=500,
            steps=100,
            seeds=6,
            **(facts | more),  # pyright: ignore[reportArgumentType]
        )
    }


CASES = (
    Faulty("dropout", (), measured=_answer(-0.3), severity="warning"),
    Faulty("just a lot", (), measured=_answer(-0.19), severity="warning"),
    Faulty("noise of small batches", (), measured=_answer(-0.3, regularizer="batch noise")),
    Faulty("no held-out data", (), measured=_answer(-0.3, None), severity="info"),
    Faulty("held-out loss within its interval", (), measured=_answer(-0.3, -0.01), severity="info"),
    Faulty("decisions not known", (), measured=_answer(-0.3, error=None), severity="warning"),
    Faulty(
        "squared error",
        (),
        measured=_answer(-0.3, unit="1", constant=1.0, start=0.9, loss=0.8, error=None),
    ),
    Healthy("held-out loss rises", measured=_answer(-0.3, 0.1)),
    Healthy("a little", measured=_answer(-0.17)),
    Healthy("within the interval", measured=_answer(-0.3, -0.3, half=0.31)),
    Healthy("better with them", measured=_answer(0.3, 0.3)),
    Healthy("the training data are learned", measured=_answer(-0.1, start=0.44, loss=0.4)),
    Healthy("few decisions are wrong", measured=_answer(-0.4, error=0.04)),
    Healthy("learned in the same steps with all on", measured=_answer(-0.2, loss=0.4)),
    Healthy("still falling faster than that", measured=_answer(-0.3, start=1.8, loss=1.4)),
    Healthy("the scale of the loss is not known", measured=_answer(-0.3, constant=None)),
    Healthy("nothing was switched off", measured=_answer(0.0, effects=())),
)

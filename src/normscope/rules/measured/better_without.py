from __future__ import annotations

from collections.abc import Iterator

from normscope.finding import Finding, Measured, Remedy
from normscope.rule import Faulty, Healthy, rule
from normscope.trials.answer import ArmAnswer, TrialAnswer
from normscope.trials.arms import AS_IS
from normscope.trials.comparison import Compared, Outcome
from normscope.trials.results import Plan

# What stands in batch norm's place there uses no statistics of a batch: kind of arm → the repair that does the same.
WITHOUT = {
    "group": "normscope repair convert-group file.py:setup -o repaired.safetensors",
    "layer": "normscope repair convert-layer file.py:setup -o repaired.safetensors",
    "instance": "normscope repair convert-instance file.py:setup -o repaired.safetensors",
    "none": "fixed maps in place of the norms, that begin with the first batch's statistics",
}
FEW = 5  # seeds


@rule("NS606", severity="warning", since="0.1.0")
def better_without(trial: TrialAnswer) -> Iterator[Finding]:
    """Without batch normalization the same script does significantly better.

    ## What it checks
    `normscope trial` ran the unmodified script with each arm, with the same seeds. It fires when an arm in which no batch norm
    is left (`group`, `layer`, `instance`, `none`) beats the script as it is: the paired differences are significant, with p corrected for the number of
    arms. A warning when even the near end of their interval is better by more than one standard deviation of the
    unchanged runs over their seeds, so that it is more than a lucky seed brings; an info when it is less.

    ## Why it matters
    Batch normalization pays where batches are large, independent and like the data of evaluation. Where they are not, normalizing over the
    channels of one sample takes its cost away, and no setting of the batch norm does: in the paper of group normalization the error of
    ResNet-50 at 2 images for each worker is 24.1 % with it and 34.7 % with batch normalization.

    ## Example
    ```python
    nn.BatchNorm2d(64)  # at 2 images a batch: accuracy 0.63 ± 0.06 over 5 seeds
    nn.GroupNorm(32, 64)  # NS606: 0.94 ± 0.01, +0.31 (+0.22 to +0.40)
    ```

    ## Repair
    The arm itself: `normscope repair convert-group` for a trained model, or the other layer in the source and a new training.
    Look at the other arms first: where `batch`, `drop-last` or `momentum` wins by as much, the batch norm may stay.

    ## Known limits
    It speaks of this script, its budget and its hyperparameters, which were chosen for batch normalization. Silent when an arm that keeps
    batch normalization is ahead of every one without, when the difference is not significant, when the unchanged runs coincide, and when
    an arm's runs crashed or diverged.

    ## References
    - Wu & He, *Group Normalization*, 2018, section 4.1, table 2. https://arxiv.org/abs/1803.08494
    - Wu & Johnson, *Rethinking "Batch" in BatchNorm*, 2021, section 5. https://arxiv.org/abs/2105.07576
    """
    better = trial.with_outcome("better")
    if not better or _kind(better[0]) not in WITHOUT:
        return
    best = better[0]
    c = best.compared
    assert c is not None
    assert c.difference is not None
    assert c.low is not None
    assert c.high is not None
    spread = trial.as_is.spread or 0.0
    near = c.low if c.difference > 0 else -c.high
    title = trial.plan.title
    yield Finding(
        f"Without batch normalization the script does better: with the arm `{best.name}` its {title} is {best.mean:.4g} instead of "
        f"{trial.as_is.mean:.4g}, {c.difference:+.3g} ({c.low:+.3g} to {c.high:+.3g}) over {c.pairs} paired runs.",
        severity="warning" if near > spread else "info",
        confidence="high" if c.pairs >= FEW else "medium",
        measured=(
            Measured(
                f"{title}: {best.name} − {AS_IS}",
                c.difference,
                "1",
                low=-spread if c.difference < 0 else None,
                high=spread if c.difference > 0 else None,
                noise=(c.high - c.low) / 4,
            ),
        ),
        repairs=(Remedy(_kind(best), "changes-function", WITHOUT[_kind(best)]),),
    )


def _kind(arm: ArmAnswer) -> str:
    return arm.name.partition(":")[0]


def _trial(
    *told: tuple[str, float, float, Outcome], spread: float = 0.02, higher: bool = True
) -> dict[str, object]:
    """Arms as (name, mean difference, half of the interval, outcome), the best first."""
    plan = Plan(
        target="train.py",
        arguments=(),
        arms=(AS_IS, *(t[0] for t in told)),
        seeds=(0, 1, 2, 3, 4),
        metric="accuracy ([0-9.]+)",
        title="accuracy",
        higher_is_better=higher,
        digest="",
    )
    arms = [
        ArmAnswer(
            name=name,
            mean=0.8 + d,
            spread=0.02,
            compared=Compared(
                arm=name,
                pairs=5,
                mean=0.8 + d,
                difference=d,
                low=d - half,
                high=d + half,
                p=0.01,
                outcome=outcome,
            ),
        )
        for name, d, half, outcome in told
    ]
    base = ArmAnswer(name=AS_IS, mean=0.8, spread=spread)
    return {"trial": TrialAnswer(plan=plan, arms=(*arms, base))}


CASES = (
    Faulty("group norm", (), measured=_trial(("group", 0.1, 0.05, "better")), severity="warning"),
    Faulty("no norm at all", (), measured=_trial(("none", 0.1, 0.05, "better"))),
    Faulty("with a value", (), measured=_trial(("group:16", 0.1, 0.05, "better"))),
    Faulty("instance norm", (), measured=_trial(("instance", 0.1, 0.05, "better"))),
    Faulty(
        "just beyond a seed's luck",
        (),
        measured=_trial(("layer", 0.1, 0.07, "better"), spread=0.029),
        severity="warning",
    ),
    Faulty(
        "less than a seed's luck",
        (),
        measured=_trial(("layer", 0.1, 0.07, "better"), spread=0.031),
        severity="info",
    ),
    Faulty(
        "significant after others, with an interval that reaches beyond 0",
        (),
        measured=_trial(("group", 0.1, 0.13, "better"), spread=0.01),
        severity="info",
    ),
    Faulty(
        "lower is better",
        (),
        measured=_trial(("group", -0.1, 0.05, "better"), higher=False),
        severity="warning",
    ),
    Faulty(
        "ahead of another remedy",
        (),
        measured=_trial(("group", 0.1, 0.05, "better"), ("momentum:0.1", 0.08, 0.05, "better")),
    ),
    Healthy(
        "within the interval", measured=_trial(("group", 0.1, 0.11, "no significant difference"))
    ),
    Healthy(
        "ahead, and the only one of two that is not significant",
        measured=_trial(
            ("group", 0.1, 0.2, "no significant difference"), ("lr:x0.3", 0.08, 0.05, "better")
        ),
    ),
    Healthy("worse", measured=_trial(("group", -0.1, 0.05, "worse"))),
    Healthy(
        "worse where lower is better", measured=_trial(("group", 0.1, 0.05, "worse"), higher=False)
    ),
    Healthy(
        "batch norm of another kind is better",
        measured=_trial(("renorm", 0.1, 0.05, "better"), ("ghost", 0.1, 0.05, "better")),
    ),
    Healthy(
        "batch norm with another momentum is ahead",
        measured=_trial(("momentum:0.1", 0.12, 0.05, "better"), ("group", 0.1, 0.05, "better")),
    ),
    Healthy("another learning rate", measured=_trial(("lr:x0.3", 0.1, 0.05, "better"))),
    Healthy("chance", measured=_trial(("random", 0.1, 0.05, "better"))),
    Healthy("not compared", measured=_trial(("group", 0.1, 0.05, "not compared"))),
    Healthy("the trial has no other arm", measured=_trial()),
)

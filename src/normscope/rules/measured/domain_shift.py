from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

from normscope.finding import Finding, Measured, Remedy
from normscope.probes.answers import Change, Estimate
from normscope.probes.answers.domain import Domain, DomainShift, LayerShift
from normscope.probes.thresholds import FULL_CONFIDENCE, POINT
from normscope.rule import Faulty, Healthy, rule

ABOVE = 3.0  # times the divergence that sampling explains
FAR = 0.1  # nats per channel: what is worth a word without a gain
NATS, SHARE = 0.05, 0.05  # of a loss in nats: absolute, and of what it was
RATIO = 0.25  # of a loss whose scale is not known


@rule("NS602", severity="warning", since="0.1.0")
def domain_shift(domain: Domain) -> Iterator[Finding]:
    """Other data have other statistics than the running ones, and re-estimating them there does better.

    ## What it checks
    The statistics of held-out data and of other data sets of the setup at each batch norm, against those recomputed on as many training
    samples: KL divergence per channel, against what two halves of one data set differ by. And what re-estimating gains: on one half of the
    data, judged on the other, both ways round. A warning where the divergence of a layer is above three times its floor, and the gain above 1 percentage
    point of decisions (without decisions 0.05 nats and 5 %, or a quarter of another loss) and above three times its noise, against the running statistics and against
    recomputed ones of training. Else an info where a layer is farther than 0.1 nats per channel.

    ## Why it matters
    A batch norm subtracts the training data's mean whatever it is given. Under another contrast, camera or season the inputs of every layer are off
    centre and off scale. Re-estimating on unlabeled target data took ResNet-50's errors under contrast changes from 40.8 to 33.1 %; on digits
    at four tenths of the contrast a small network went from 76 to 2 %.

    ## Example
    ```python
    def setup():  # `normscope probe domain file.py:setup`
        return {"model": net, "train": sunny, "domains": {"fog": fog}, "loss": nn.CrossEntropyLoss()}
    ```

    ## Repair
    Recompute the statistics on unlabeled data of that domain, some hundreds of samples, and keep the old ones for the old domain. Or train on data of
    both. Never adapt to a tiny batch or to a mix of domains: statistics of the wrong domain cost 16 points on clean ImageNet.

    ## Known limits
    Silent when the data agree up to sampling, and where training's recomputed statistics do as well: then the running ones are stale (NS408). A shift that
    statistics do not mend (noise, new classes) is an info. Data sets below 64 samples are not asked about. It cannot see that
    a data set is itself a mix, nor that its classes come in other shares: re-estimated statistics follow those too.

    ## References
    - Li et al., *Revisiting Batch Normalization For Practical Domain Adaptation*, 2016, section 3. https://arxiv.org/abs/1603.04779
    - Schneider et al., *Improving robustness against common corruptions by covariate shift adaptation*, 2020, section 2. https://arxiv.org/abs/2006.16971
    - Wu & Johnson, *Rethinking "Batch" in BatchNorm*, 2021, section 5. https://arxiv.org/abs/2105.07576
    """
    for shift in domain.shifts:
        layers = [x for x in shift.layers if x.apart > ABOVE * x.apart_floor and isfinite(x.apart)]
        if not layers:
            continue
        worst = max(layers, key=lambda x: x.apart)
        gains = _gains(shift)
        pays = bool(gains) and all(counts(shift, kind, c) for kind, c in gains)
        if not pays and worst.apart < FAR:
            continue
        yield _finding(domain, shift, layers, worst, gains, pays=pays)


def _gains(shift: DomainShift) -> list[tuple[str, Change]]:
    """From running and from recomputed training statistics to re-estimated ones, in decisions where they are known."""
    for kind, pair in (
        ("error", (shift.error, shift.error_beside)),
        ("loss", (shift.loss, shift.loss_beside)),
    ):
        known = [(kind, c) for c in pair if c is not None]
        if len(known) == 2:
            return known
    return []


def counts(shift: DomainShift, kind: str, change: Change) -> bool:
    """Whether a fall from `before` to `after` is above its noise and large enough to matter."""
    gain = -change.rise.value
    if not gain > 3 * change.rise.noise:
        return False
    if kind == "error":
        return gain > POINT
    relative = gain / abs(change.before) if change.before else 0.0
    if shift.unit == "nats":
        return gain >= NATS and relative >= SHARE
    return relative >= RATIO


def _finding(
    domain: Domain,
    shift: DomainShift,
    layers: list[LayerShift],
    worst: LayerShift,
    gains: list[tuple[str, Change]],
    *,
    pays: bool,
) -> Finding:
    where = (
        f"most at `{worst.path}`: {worst.apart:.2g} nats per channel from training data, of which sampling explains "
        f"{worst.apart_floor:.2g}"
    )
    return Finding(
        f"The data `{shift.name}` ({shift.samples} samples) have other statistics than `{domain.name}` was trained on, {where}. "
        f"{_told(gains, pays=pays)}",
        severity="warning" if pays else "info",
        confidence="high" if shift.samples >= FULL_CONFIDENCE else "medium",
        model=domain.name,
        layers=tuple(x.path for x in layers),
        measured=_measured(worst, gains),
        repairs=(
            (
                Remedy(
                    "recalibrate-on-domain",
                    "changes-function",
                    f"`normscope.recalibrate(copy.deepcopy(model), loader)` with unlabeled data of `{shift.name}` alone, for use on them alone",
                ),
            )
            if pays
            else ()
        ),
    )


def _told(gains: list[tuple[str, Change]], *, pays: bool) -> str:
    if not gains:
        return "What that costs is not known: the setup gives no loss with targets of these data."
    (kind, running), (_, beside) = gains

    def say(value: float) -> str:
        return f"{value:.1%}" if kind == "error" else f"{value:.3g}"

    what = "Wrong decisions" if kind == "error" else "The loss"
    with_ = (
        f"{what}: {say(running.before)} with running statistics, {say(beside.before)} with ones recomputed on training data, "
        f"{say(running.after)} with ones re-estimated on the other half of these data."
    )
    if pays:
        return f"{with_} Re-estimate them on unlabeled data of this kind, and keep the old ones for the old data."
    return f"{with_} Re-estimating statistics does not mend that."


def _measured(worst: LayerShift, gains: list[tuple[str, Change]]) -> tuple[Measured, ...]:
    found = [
        Measured(
            "KL divergence from training data", worst.apart, "nats", high=ABOVE * worst.apart_floor
        )
    ]
    for (kind, change), name in zip(gains, ("running", "recomputed"), strict=False):
        unit = "share of samples" if kind == "error" else "loss"
        bar = max(POINT if kind == "error" else 0.0, 3 * change.rise.noise)
        noise = change.rise.noise
        found.append(
            Measured(
                f"{kind}: {name} − re-estimated statistics",
                -change.rise.value,
                unit,
                high=bar,
                noise=noise,
            )
        )
    return tuple(found)


def _change(before: float, after: float, noise: float) -> Change:
    return Change(before, after, Estimate(after - before, noise))


def _data(
    error: tuple[float, float, float] | None = (0.4, 0.4, 0.1),
    noise: float = 0.003,
    apart: float = 2.0,
    **more: Any,
) -> Mapping[str, object]:
    """Error with running, with recomputed and with re-estimated statistics, on one data set."""
    facts: dict[str, Any] = {
        "name": "fog",
        "samples": 1500,
        "batches": 40,
        "unit": "nats",
        "mixed": True,
    }
    if error is not None:
        running, training, after = error
        facts["error"] = _change(running, after, noise)
        facts["error_beside"] = _change(training, after, noise)
    layer = LayerShift(
        layer=0,
        path="a",
        divergence=apart,
        floor=0.02,
        apart=apart,
        apart_floor=0.02,
        largest=apart,
        channel=0,
    )
    shift = DomainShift(layers=(layer,), **(facts | more))
    return {"domain": Domain(model=0, name="Net", shifts=(shift,))}


def _loss(
    before: float, after: float, unit: str = "nats", noise: float = 0.01
) -> Mapping[str, object]:
    change = _change(before, after, noise)
    return _data(error=None, unit=unit, loss=change, loss_beside=change)


CASES = (
    Faulty("re-estimating mends it", ("a",), measured=_data(), severity="warning"),
    Faulty("just above a point", ("a",), measured=_data((0.111, 0.111, 0.1)), severity="warning"),
    Faulty(
        "just above three times its noise",
        ("a",),
        measured=_data((0.131, 0.131, 0.1), noise=0.01),
        severity="warning",
    ),
    Faulty(
        "a small divergence that costs much",
        ("a",),
        measured=_data(apart=0.061),
        severity="warning",
    ),
    Faulty("a loss in nats", ("a",), measured=_loss(1.0, 0.94), severity="warning"),
    Faulty(
        "a loss of any scale", ("a",), measured=_loss(40.0, 29.0, "loss", 1.0), severity="warning"
    ),
    Faulty("without a loss", ("a",), measured=_data(error=None), severity="info"),
    Healthy("the same domain", measured=_data((0.1, 0.1, 0.1), apart=0.03)),
    Healthy("a gain, but no divergence above its floor", measured=_data(apart=0.059)),
    Healthy(
        "stale statistics: those recomputed on training data do as well",
        measured=_data((0.4, 0.1, 0.1), apart=0.09),
    ),
    Healthy("stale, and far", measured=_data((0.4, 0.1, 0.1)), at_most="info"),
    Healthy("just below a point", measured=_data((0.109, 0.109, 0.1)), at_most="info"),
    Healthy("within the noise", measured=_data((0.129, 0.129, 0.1), noise=0.01), at_most="info"),
    Healthy("re-estimating costs", measured=_data((0.1, 0.1, 0.3)), at_most="info"),
    Healthy(
        "far, but re-estimating does not mend it", measured=_data((0.6, 0.6, 0.6)), at_most="info"
    ),
    Healthy("near, without a gain", measured=_data((0.1, 0.1, 0.1), apart=0.099)),
    Healthy("a loss in nats, small", measured=_loss(1.0, 0.951, noise=0.001), at_most="info"),
    Healthy("a loss in nats, small beside the whole", measured=_loss(3.0, 2.9), at_most="info"),
    Healthy("a loss of any scale, small", measured=_loss(40.0, 31.0, "loss", 1.0), at_most="info"),
    Healthy("not a number", measured=_data(apart=float("nan"))),
)

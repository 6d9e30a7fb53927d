from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import hypot

from normscope.concepts.wording import named
from normscope.evidence import Facts
from normscope.finding import Finding, Measured, Remedy, Severity
from normscope.record.recording import Layer, Recording
from normscope.rule import Faulty, Healthy, rule

ENOUGH = 8  # channels: with fewer, a mean and a spread say little
CENTRED = (
    0.5  # |mean| in standard deviations; uniform on (0, 1) has 1.7, a normal law around 1 has 50
)
SMALL = 0.25  # rms of the scale: the largest that cost more than 5 points was 0.2
MOST = 0.5  # of the layers with a scale: a generic initializer hits all of a kind


def as_built(facts: Facts) -> Iterator[Finding]:
    """Without a run: the scales that the factory returned."""
    yield from finding_of(facts.name, facts.layers)


@rule(
    "NS204",
    severity="warning",
    since="0.1.0",
    explains=("NS502", "NS503", "NS504"),
    static=as_built,
)
def reinitialized_gamma(recording: Recording) -> Iterator[Finding]:
    r"""An initializer that was meant for weights overwrote the scale γ of the norms.

    ## What it checks
    Before any training, the scale $\gamma$ of each norm: mean and standard deviation over its channels. A law around 0 (mean within half
    a standard deviation, 8 channels or more) is what initializers of convolutions and linear maps make. It is a warning
    when it holds for more than half of the norms and their root mean square is below 0.25.

    ## Why it matters
    Each norm multiplies what it has just scaled to 1 by $\gamma$: with a standard deviation of 0.02 the signal, and the gradient, shrinks
    fifty times per layer, and the signs are random. Six blocks: output 0.010 where it should be 0.59. Measured on digits with
    networks of five norms and SGD: a spread of 0.02 to 0.1 cost 4 to 34 points after 150 steps, 0.2 up to 8, 0.3 up to
    3.5, 0.5 and 1 up to 2; a normal law around 1 and a uniform one on (0, 1) up to 2. Adam hides most of it.

    ## Example
    ```python
    def init_weights(m):
        if hasattr(m, "weight"):  # wrong: norms have a weight too
            nn.init.normal_(m.weight, 0.0, 0.02)
    ```

    ## Repair
    Leave norms out of the initializer, `isinstance(m, (nn.Conv2d, nn.Linear))`, or give them their own: 1, or a normal law
    around 1 as GAN recipes do.

    ## Known limits
    Silent when the scale is the same in all channels (zero is NS203's, a constant such as 0.1 is a choice), for layers that
    began with learned statistics, with a learned shift or from a checkpoint, for models that no optimizer steps, and for
    norms with fewer than 8 channels. Where only the code was looked at, it is taken for granted that the model is going to be
    trained as it was built. An info when half of the norms or fewer are hit: a random start near 0 at the ends
    of residual branches is sound.

    ## References
    - https://github.com/pytorch/examples/issues/516
    - Ioffe & Szegedy, *Batch Normalization*, 2015, section 3. https://arxiv.org/abs/1502.03167
    - Radford et al., *DCGAN*, 2016, section 4. https://arxiv.org/abs/1511.06434
    """
    for model in recording.models.values():
        if model.optimized:
            mine = [x for x in recording.layers.values() if x.model == model.id]
            yield from finding_of(model.name, mine)


def finding_of(name: str, layers: Iterable[Layer]) -> Iterator[Finding]:
    known = [x for x in layers if x.gamma_mean_at_start is not None]
    hit = [x for x in known if overwritten(x)]
    if hit:
        first = max(hit, key=lambda x: -rms(x))
        names = named(hit)
        yield Finding(
            f"Before training the scale of {len(hit)} of {len(known)} norms ({names}) was random around 0, in `{first.path}` with mean "
            f"{first.gamma_mean_at_start:.2g} and standard deviation {first.gamma_sd_at_start:.2g}: an initializer for weights "
            "overwrote it, and each norm shrinks its output. Start it at 1.",
            severity=severity(hit, known),
            confidence="high" if all(x.fresh_at_start for x in hit) else "medium",
            model=name,
            layers=tuple(x.path for x in hit),
            site=first.site,
            measured=(
                Measured(f"rms of the scale of {first.path}", rms(first), "1", low=SMALL),
                Measured(
                    f"mean of the scale of {first.path}",
                    first.gamma_mean_at_start or 0.0,
                    "1",
                    low=CENTRED * first.gamma_sd_at_start,
                ),
            ),
            repairs=(
                Remedy(
                    "start the scale at 1",
                    "changes-function",
                    f"torch.nn.init.ones_(model.get_submodule({first.path!r}).weight)",
                ),
            ),
        )


def rms(layer: Layer) -> float:
    return hypot(layer.gamma_mean_at_start or 0.0, layer.gamma_sd_at_start)


def overwritten(layer: Layer) -> bool:
    """Whether the untrained scale is spread around 0."""
    mean, sd = layer.gamma_mean_at_start, layer.gamma_sd_at_start
    if mean is None or not sd or layer.channels < ENOUGH or abs(mean) > CENTRED * sd:
        return False
    return untrained(layer)


def untrained(layer: Layer) -> bool:
    if layer.loaded in ("complete", "parameters"):
        return False
    if layer.tracks:
        return layer.fresh_at_start is True
    # Training moves the shift; an initializer sets it to 0 or treats it as it treats the scale.
    shift = layer.beta_rms_at_start
    return not shift or 0.5 < shift / rms(layer) < 2


def severity(hit: list[Layer], known: list[Layer]) -> Severity:
    small = [x for x in hit if rms(x) < SMALL]
    return "warning" if len(small) > MOST * len(known) else "info"


_NORMAL = "gamma_mean_at_start=0.002 gamma_sd_at_start=0.02 beta_rms_at_start=0.0 channels=64"
_GROUP = "type=GroupNorm kind=group tracks=False fresh_at_start=None fresh_at_end=None"
_LAYER = "type=LayerNorm kind=layer tracks=False fresh_at_start=None fresh_at_end=None"
_RIGHT = "gamma_mean_at_start=1.0 beta_rms_at_start=0.0"

CASES = (
    Faulty(
        "normal law of width 0.02 in every norm",
        ("a", "b"),
        story=f"layer a {_NORMAL}; layer b {_NORMAL}; train a,b x100",
        severity="warning",
    ),
    Faulty(
        "uniform law over all parameters, shift included",
        ("a",),
        story=f"layer a {_LAYER} channels=32 gamma_mean_at_start=-0.01 gamma_sd_at_start=0.046 beta_rms_at_start=0.05; train a x100",
        severity="warning",
    ),
    Faulty(
        "xavier on a vector, norms that keep no statistics",
        ("a",),
        story=f"layer a {_GROUP} channels=64 gamma_mean_at_start=0.02 gamma_sd_at_start=0.17 beta_rms_at_start=0.0; train a x100",
        severity="warning",
    ),
    Faulty(
        "two of three norms",
        ("a", "b"),
        story=f"layer a {_NORMAL}; layer b {_NORMAL}; layer c {_RIGHT}; train a,b,c x100",
        severity="warning",
    ),
    Faulty(
        "wide law",
        ("a",),
        story="layer a channels=64 gamma_mean_at_start=0.02 gamma_sd_at_start=0.26; train a x100",
        severity="info",
    ),
    Faulty(
        "ends of residual branches",
        ("b",),
        story=f"layer a {_RIGHT}; layer b {_NORMAL}; train a,b x100",
        severity="info",
    ),
    Healthy("scale 1", story=f"layer a {_RIGHT}; train a x100"),
    Healthy(
        "normal law around 1",
        story="layer a channels=64 gamma_mean_at_start=1.001 gamma_sd_at_start=0.02; train a x100",
    ),
    Healthy(
        "uniform between 0 and 1, the default of old versions",
        story="layer a channels=64 gamma_mean_at_start=0.49 gamma_sd_at_start=0.29; train a x100",
    ),
    Healthy(
        "just off centre",
        story="layer a channels=64 gamma_mean_at_start=0.0103 gamma_sd_at_start=0.02; train a x100",
    ),
    Healthy(
        "zero at the end of a branch",
        story=f"layer a {_RIGHT}; layer b gamma_mean_at_start=0.0 zero_gamma_at_start=1.0; train a,b x100",
    ),
    Healthy("constant 0.1", story="layer a channels=64 gamma_mean_at_start=0.1; train a x100"),
    Healthy("no scale", story="layer a affine=False trainable=None; train a x100"),
    Healthy(
        "pretrained, with scales that have crossed zero",
        story=f"layer a {_NORMAL} fresh_at_start=False; train a x100",
    ),
    Healthy(
        "parameters from a checkpoint, statistics not",
        story=f"layer a {_NORMAL} loaded=parameters; train a x100",
    ),
    Healthy(
        "pretrained layer norm",
        story=f"layer a {_LAYER} channels=64 gamma_mean_at_start=0.01 gamma_sd_at_start=0.1 beta_rms_at_start=0.4; train a x100",
    ),
    Healthy(
        "few channels",
        story="layer a channels=4 gamma_mean_at_start=0.002 gamma_sd_at_start=0.02; train a x100",
    ),
    Healthy(
        "never optimized",
        story=f"model optimized=False parameters_changed=False; layer a {_NORMAL}; infer a mode=eval",
    ),
    Healthy("scale unknown", story="layer a; train a x100"),
    Faulty(
        "as built, normal law of width 0.02",
        ("a", "b"),
        static=f"layer a {_NORMAL}; layer b {_NORMAL}",
        severity="warning",
    ),
    Faulty(
        "as built, ends of branches only",
        ("b",),
        static=f"layer a {_RIGHT}; layer b {_NORMAL}",
        severity="info",
    ),
    Healthy("as built, scale 1", static=f"layer a {_RIGHT}"),
    Healthy(
        "as built, a normal law around 1",
        static="layer a channels=64 gamma_mean_at_start=1.001 gamma_sd_at_start=0.02",
    ),
    Healthy("a checkpoint with such scales", static=f"layer a {_NORMAL} loaded=complete"),
    Healthy("built with learned statistics", static=f"layer a {_NORMAL} fresh_at_start=False"),
)

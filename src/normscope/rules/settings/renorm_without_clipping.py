from __future__ import annotations

from collections.abc import Iterator
from math import inf

from normscope.concepts.wording import named
from normscope.evidence import Facts
from normscope.finding import Finding, Measured, Remedy
from normscope.probes.observations import OwnStatistics, own_statistics
from normscope.record.recording import Layer, Recording
from normscope.rule import Faulty, Healthy, rule


def by_settings(facts: Facts) -> Iterator[Finding]:
    """Without a run: the bounds that the layers were built with."""
    if layers := [x for x in facts.layers if unbounded(x)]:
        yield told(layers, facts.name)


@rule(
    "NS207",
    severity="warning",
    since="0.1.0",
    explains=("NS501", "NS504"),
    static=by_settings,
)
def renorm_without_clipping(recording: Recording) -> Iterator[Finding]:
    r"""Batch renormalization corrects without a bound, from the first step on.

    ## What it checks
    Trained layers that correct the batch's mean and variance by the running ones, $\hat x r + d$ with $r = \sigma_B / \sigma$ and
    $d = (\mu_B - \mu) / \sigma$, and have no bound `rmax` on $r$ or `dmax` on $d$.

    ## Why it matters
    At the start the running statistics are 0 and 1 and tell nothing; without bounds the layer normalizes with them, and their error goes
    through forward and backward unchecked. The paper starts as plain batch norm (rmax 1, dmax 0) for 5000 steps and
    relaxes to rmax 3 and dmax 5; a network that normalized by running statistics from the start converged much slower.

    ## Example
    ```python
    keras.layers.BatchNormalization(renorm=True)  # no renorm_clipping: bounds 1/0, 0 and infinity
    ```

    ## Repair
    `renorm_clipping={"rmax": r, "rmin": 1 / r, "dmax": d}` with r from 1 to 3 (by step 40 000) and d from 0 to 5 (by step 25 000).

    ## Known limits
    Of a layer of your own it is measured at the end: statistics that a training forward moves as a running average, one output in training and
    evaluation although the gradient runs through the batch, and that still when the running statistics are put a thousand units away. Bounds that are
    relaxed during training are seen as they are at the end. Silent for layers that were only evaluated, and where the script did not end by itself.
    Where only the code was looked at, the bounds that a layer was built with are judged.

    ## References
    - Ioffe, *Batch Renormalization*, 2017, section 3. https://arxiv.org/abs/1702.03275
    - https://www.tensorflow.org/versions/r2.15/api_docs/python/tf/keras/layers/BatchNormalization
    """
    by_model: dict[int, list[Layer]] = {}
    for layer in recording.layers.values():
        if unbounded(layer) and any(recording.calls(layer.id, "training")):
            by_model.setdefault(layer.model, []).append(layer)
    for model, layers in by_model.items():
        yield told(layers, recording.models[model].name)
    yield from measured(recording)


def told(layers: list[Layer], model: str) -> Finding:
    """The finding on layers of one model that lack bounds."""
    names = named(layers)
    missing = " and ".join(unbounded(layers[0]))
    return Finding(
        f"{names} renormalize{'s' if len(layers) == 1 else ''} without {missing} from step 0 on, when the running statistics know "
        "nothing. Start with rmax 1 and dmax 0 and relax to 3 and 5.",
        severity="warning",
        confidence="medium",
        model=model,
        layers=tuple(x.path for x in layers),
        site=layers[0].site,
        measured=(Measured("renormalizing layers without bound", len(layers), "layers", high=0),),
        repairs=(
            Remedy(
                "bound the correction",
                "changes-function",
                'renorm_clipping={"rmax": 3, "rmin": 1 / 3, "dmax": 5}',
            ),
        ),
    )


def measured(recording: Recording) -> Iterator[Finding]:
    """Layers of the user's own that were found to renormalize."""
    groups: dict[str, list[OwnStatistics]] = {}
    for own in own_statistics(recording.measurements.get("own_statistics", ())):
        bounded = own.bounded_scale and own.bounded_shift
        if not bounded and own.renorm and own.steps:
            groups.setdefault(own.name, []).append(own)
    for name, layers in groups.items():
        names = named(layers)
        bounds = {"rmax": layers[0].bounded_scale, "dmax": layers[0].bounded_shift}
        missing = " and ".join(k for k, bounded in bounds.items() if not bounded)
        yield Finding(
            f"{names} {'corrects' if len(layers) == 1 else 'correct'} the batch's statistics by the running ones without {missing}, however far "
            "they are apart (measured), and so did the first steps, when the running ones know nothing. Start with rmax 1 and dmax 0 and relax to 3 and 5.",
            severity="warning",
            confidence="medium",
            model=name,
            layers=tuple(x.path for x in layers),
            measured=(
                Measured("renormalizing layers without bound", len(layers), "layers", high=0),
            ),
            repairs=(
                Remedy(
                    "bound the correction",
                    "changes-function",
                    "r = (sd / running_sd).clamp(1 / rmax, rmax); d = ((mean - running_mean) / running_sd).clamp(-dmax, dmax)",
                ),
            ),
        )


def unbounded(layer: Layer) -> list[str]:
    """The bounds that a renormalizing layer lacks."""
    if not layer.renorm:
        return []
    bounds = {"rmax": layer.renorm_rmax, "dmax": layer.renorm_dmax}
    return [name for name, bound in bounds.items() if bound is None or bound == inf]


def _own(*, renorm: bool = True, scale: bool = False, shift: bool = False) -> dict[str, object]:
    own = OwnStatistics(
        model=0,
        name="Net",
        path="a",
        buffers=("mean", "sd"),
        channels=8,
        momentum=0.01,
        fresh=False,
        steps=200,
        renorm=renorm,
        bounded_scale=scale,
        bounded_shift=shift,
    )
    return {"own_statistics": own}


CASES = (
    Faulty(
        "written by hand without bounds",
        ("a",),
        story="layer a; train a x200; infer a mode=eval",
        measured=_own(),
        severity="warning",
    ),
    Faulty(
        "written by hand, bounded in scale only",
        ("a",),
        story="layer a; train a x200; infer a mode=eval",
        measured=_own(scale=True),
        severity="warning",
    ),
    Healthy(
        "written by hand with both bounds",
        story="layer a; train a x200; infer a mode=eval",
        measured=_own(scale=True, shift=True),
    ),
    Healthy(
        "a plain average kept by hand",
        story="layer a; train a x200; infer a mode=eval",
        measured=_own(renorm=False),
    ),
    Faulty("no bounds", ("a",), story="layer a renorm=True; train a x100", severity="warning"),
    Faulty(
        "only the scale is bounded",
        ("a", "b"),
        story="layer a renorm=True renorm_rmax=3.0; layer b renorm=True renorm_rmax=3.0; train a,b x100",
    ),
    Faulty(
        "an infinite bound",
        ("a",),
        story="layer a renorm=True renorm_rmax=1e999 renorm_dmax=5.0; train a x100",
    ),
    Faulty("no bounds, only looked at", ("a",), static="layer a renorm=True", severity="warning"),
    Healthy(
        "bounded, only looked at", static="layer a renorm=True renorm_rmax=3.0 renorm_dmax=5.0"
    ),
    Healthy("no renormalization, only looked at", static="layer a"),
    Healthy("bounded", story="layer a renorm=True renorm_rmax=3.0 renorm_dmax=5.0; train a x100"),
    Healthy(
        "bounded to plain batch norm",
        story="layer a renorm=True renorm_rmax=1.0 renorm_dmax=0.0; train a x100",
    ),
    Healthy("plain batch norm", story="layer a; train a x100"),
    Healthy("only evaluated", story="layer a renorm=True; infer a mode=eval x5"),
)

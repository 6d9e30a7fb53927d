from __future__ import annotations

from collections.abc import Iterator
from math import inf

from normscope.finding import Finding, Measured, Remedy
from normscope.record.recording import Layer, Recording
from normscope.rule import Faulty, Healthy, rule


@rule("NS207", severity="warning", since="0.1.0", explains=("NS501", "NS504"))
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
    Needs a recording that says that a layer renormalizes; today no observer does. PyTorch has no such layer, and one written by
    hand is a chain of plain operations that is not told apart from any other arithmetic: silent there. Silent for layers that were only evaluated.

    ## References
    - Ioffe, *Batch Renormalization*, 2017, section 3. https://arxiv.org/abs/1702.03275
    - https://www.tensorflow.org/versions/r2.15/api_docs/python/tf/keras/layers/BatchNormalization
    """
    by_model: dict[int, list[Layer]] = {}
    for layer in recording.layers.values():
        if unbounded(layer) and any(recording.calls(layer.id, "training")):
            by_model.setdefault(layer.model, []).append(layer)
    for model, layers in by_model.items():
        names = ", ".join(f"`{x.path}`" for x in layers[:3]) + (", …" if len(layers) > 3 else "")
        missing = " and ".join(unbounded(layers[0]))
        yield Finding(
            f"{names} renormalize{'s' if len(layers) == 1 else ''} without {missing} from step 0 on, when the running statistics know "
            "nothing. Start with rmax 1 and dmax 0 and relax to 3 and 5.",
            severity="warning",
            confidence="medium",
            model=recording.models[model].name,
            layers=tuple(x.path for x in layers),
            site=layers[0].site,
            measured=(
                Measured("renormalizing layers without bound", len(layers), "layers", high=0),
            ),
            repairs=(
                Remedy(
                    "bound the correction",
                    "changes-function",
                    'renorm_clipping={"rmax": 3, "rmin": 1 / 3, "dmax": 5}',
                ),
            ),
        )


def unbounded(layer: Layer) -> list[str]:
    """The bounds that a renormalizing layer lacks."""
    if not layer.renorm:
        return []
    bounds = {"rmax": layer.renorm_rmax, "dmax": layer.renorm_dmax}
    return [name for name, bound in bounds.items() if bound is None or bound == inf]


CASES = (
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
    Healthy("bounded", story="layer a renorm=True renorm_rmax=3.0 renorm_dmax=5.0; train a x100"),
    Healthy(
        "bounded to plain batch norm",
        story="layer a renorm=True renorm_rmax=1.0 renorm_dmax=0.0; train a x100",
    ),
    Healthy("plain batch norm", story="layer a; train a x100"),
    Healthy("only evaluated", story="layer a renorm=True; infer a mode=eval x5"),
)

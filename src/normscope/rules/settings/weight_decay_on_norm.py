from __future__ import annotations

from collections.abc import Iterator

from normscope.concepts.wording import named
from normscope.finding import Finding, Measured, Remedy
from normscope.record.recording import Layer, Recording
from normscope.rule import Faulty, Healthy, rule


@rule("NS208", severity="info", since="0.1.0", default=False)
def weight_decay_on_norm(recording: Recording) -> Iterator[Finding]:
    r"""The optimizer decays the scale and shift of the norms.

    ## What it checks
    Norms whose scale or shift belongs to an optimizer group with a weight decay above 0.

    ## Why it matters
    Decay pulls $\gamma$ towards 0 and so shrinks what the norm has just scaled. Whether that hurts is open, so this rule is off by default and
    never more than an info: recipes for large batches leave norms and biases out and count it among several changes that help; a
    study over six data sets found that decaying them gains 0.3 points on CIFAR-100, ten runs, depending on the network.

    ## Example
    ```python
    torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=5e-4)  # decays the norms as well
    ```

    ## Repair
    Two parameter groups: norms and biases without decay, all others with it, as `normscope.repairs.weight_decay_groups(model, 1e-4)` gives
    them to any optimizer of PyTorch. Compare both with `normscope trial`.

    ## Known limits
    Tells what is set, not what it does. Silent for decay that a script adds to its loss, and for groups whose decay is a tensor or
    was changed after their first step.

    ## References
    - He et al., *Bag of Tricks for Image Classification*, 2019, section 3.1. https://arxiv.org/abs/1812.01187
    - Summers & Dinneen, *Four Things Everyone Should Know to Improve Batch Normalization*, 2020, section 3.3. https://arxiv.org/abs/1906.03548
    """
    groups: dict[tuple[int, float], list[Layer]] = {}
    for layer in recording.layers.values():
        if layer.weight_decay and layer.trainable:
            groups.setdefault((layer.model, layer.weight_decay), []).append(layer)
    for (model, decay), layers in groups.items():
        names = named(layers)
        yield Finding(
            f"Scale and shift of {names} are decayed with weight {decay:g}. It may help or harm: compare a run without it.",
            severity="info",
            model=recording.models[model].name,
            layers=tuple(x.path for x in layers),
            site=layers[0].site,
            measured=(Measured("weight decay of scale and shift", decay, "per step", high=0.0),),
            repairs=(
                Remedy(
                    "no decay for vectors",
                    "changes-function",
                    f"`normscope.repairs.weight_decay_groups(model, {decay:g})` in place of `model.parameters()`",
                ),
            ),
        )


CASES = (
    Faulty(
        "all parameters in one group",
        ("a", "b"),
        story="layer a weight_decay=5e-4; layer b weight_decay=5e-4; train a,b x100",
    ),
    Faulty(
        "one of two",
        ("a",),
        story="layer a weight_decay=0.01; layer b weight_decay=0.0; train a,b x100",
    ),
    Healthy("no decay", story="layer a weight_decay=0.0; train a x100"),
    Healthy("in no optimizer", story="layer a optimized=False; train a x100"),
    Healthy(
        "fixed: the optimizer passes over it",
        story="layer a weight_decay=0.01 trainable=False; train a x100",
    ),
)

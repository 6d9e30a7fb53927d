from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from normscope.concepts.wording import named
from normscope.evidence import Facts
from normscope.finding import Finding, Measured, Remedy, Steps
from normscope.graph.model import Affine, Graph, Input, Node, Norm, Opaque
from normscope.record.recording import Layer, Recording
from normscope.rule import Faulty, Healthy, rule

MOST = 0.5  # share of channels below a linear map
ALL = 0.99  # share of channels of data, some of which are honestly constant
LOOKS = 3  # the last so many looks at the statistics must agree


def in_the_checkpoint(weights: Facts) -> Iterator[Finding]:
    """Without a run: the running variances that a checkpoint holds. What feeds a layer is not asked, so only all channels count."""
    found: list[Collapse] = []
    for layer in weights.layers:
        known = weights.stored.get(layer.id)
        if known is not None and known.running_var.size and not layer.fresh_at_start:
            share = float(np.mean(known.running_var < layer.eps))
            if share >= ALL:
                found.append(Collapse(layer, share, ALL, None))
    if found:
        yield finding_of(weights.name, found)


@rule(
    "NS502",
    severity="error",
    since="0.1.0",
    explains=("NS408", "NS504"),
    at_its_layers=("NS408",),  # those that carry most of the gap come first there
    static=in_the_checkpoint,
)
def collapsed_variance(recording: Recording) -> Iterator[Finding]:
    r"""The input of a batch norm hardly varies: most channels have a variance below eps.

    ## What it checks
    The share of channels whose batch variance was below the layer's $\epsilon$, at each of the last three looks, and the share whose
    running variance is below it at the end. Half of the channels count below a linear map or
    convolution; where the norm reads data directly, or its origin is unknown, only all of them count.

    ## Why it matters
    Normalization divides by $\sqrt{\sigma^2 + \epsilon}$. With $\sigma^2 < \epsilon$ it no longer sets the scale: what comes out is rounding noise and
    $\beta$, hardly any gradient goes back, and an input that does vary in evaluation is multiplied by up to $1/\sqrt{\epsilon} = 316$.
    So is the lag of the running mean behind the weights: where a constant 0.0006 moves, evaluation is off by 0.2 standard deviations, though nothing
    is stale but a hair (NS408).
    What feeds the layer is constant: dead units, a zeroed or disconnected input, weights that shrank away, or data on a tiny scale.

    ## Example
    ```python
    board2 = torch.zeros(960, 6)  # these sensors were connected after the training data was collected
    nn.BatchNorm1d(6)(board2)  # running_var falls to 0; the first real reading comes out 316 times too large
    ```

    ## Repair
    Mend what feeds the layer: look at its input over a few batches. Scale tiny data up before the network; leave constant features out.

    ## Known limits
    A warning, unless it explains an error that was measured. Single dead channels, border pixels and rare features are silent. Needs statistics that moved in training, or those of a checkpoint, of which all
    channels must have collapsed; a batch variance that
    cannot be recovered from the running one counts as unknown.

    ## References
    - Ioffe & Szegedy, *Batch Normalization*, 2015, section 3. https://arxiv.org/abs/1502.03167
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html
    """
    by_model: dict[int, list[Collapse]] = {}
    for layer in recording.layers.values():
        if found := collapse_of(recording, layer):
            by_model.setdefault(layer.model, []).append(found)
    for model, found in by_model.items():
        yield finding_of(recording.models[model].name, found)


def finding_of(model: str, found: list[Collapse]) -> Finding:
    layers = [c.layer for c in found]
    # The first to collapse in forward order starves those behind it.
    source = found[0]
    names = named(layers)
    return Finding(
        f"{source.share:.0%} of the channels that reach `{source.layer.path}` have a variance below its eps={source.layer.eps:g} "
        f"(layers in this state: {names}): the norm cannot set their scale. Look at what feeds `{source.layer.path}`.",
        severity="warning",
        confidence="high" if source.share >= ALL else "medium",
        model=model,
        layers=tuple(x.path for x in layers),
        site=source.layer.site,
        steps=source.steps,
        measured=(
            Measured("channels with variance below eps", source.share, "1", high=source.bar),
        ),
        repairs=(
            Remedy(
                "look at the input",
                "changes-function",
                f"model.get_submodule({source.layer.path!r}).register_forward_pre_hook(lambda m, x: print(x[0].var(0)))",
            ),
        ),
    )


@dataclass(frozen=True, slots=True)
class Collapse:
    layer: Layer
    share: float
    bar: float
    steps: Steps | None


def collapse_of(recording: Recording, layer: Layer) -> Collapse | None:
    if not layer.updates:
        return None
    bar = MOST if behind_linear_map(recording, layer) else ALL
    for share, steps in (stored(recording, layer), seen(recording, layer)):
        if share >= bar:
            return Collapse(layer, share, bar, steps)
    return None


def stored(recording: Recording, layer: Layer) -> tuple[float, Steps | None]:
    """Share of channels whose running variance is below eps at the end."""
    known = recording.channels.get(layer.id)
    if known is None or not known.running_var.size:
        return 0.0, None
    return float(np.mean(known.running_var < layer.eps)), None


def seen(recording: Recording, layer: Layer) -> tuple[float, Steps | None]:
    """The least share of channels with collapsed batch variance over the last looks."""
    polls = recording.polls
    if polls is None or layer.id not in polls.layers:
        return 0.0, None
    at = polls.layers.index(layer.id)
    share = polls.values["collapsed"][:, at]
    known = np.flatnonzero(~np.isnan(share))[-LOOKS:]
    if known.size < LOOKS:
        return 0.0, None
    steps = Steps(int(polls.steps[known[0]]), int(polls.steps[known[-1]]), LOOKS)
    return float(share[known].min()), steps


def behind_linear_map(recording: Recording, layer: Layer) -> bool:
    """Whether all that reaches the layer comes through a linear map or another norm."""
    for graph in recording.graphs:
        calls = [n for n, _ in graph.norms() if n.path == layer.path]
        if graph.model == layer.model and calls:
            return all(mapped(graph, n) for n in calls)
    return False


def mapped(graph: Graph, norm: Node) -> bool:
    """Whether no path leads from an input or an unknown operation to `norm` without a linear map."""
    open_, reached = graph.inputs(norm), set[str]()
    if not open_:
        return False
    while open_:
        node = open_.pop()
        if isinstance(node.op, Input | Opaque):
            return False
        if node.id not in reached and not isinstance(node.op, Affine | Norm):
            reached.add(node.id)
            open_ += graph.inputs(node)
    return True


_NET = "c = conv(x); a = batch_norm(c); r = relu(a); l = linear(r); b = batch_norm(l)"
_INPUT = "a = batch_norm(x); l = linear(a)"


def _looks(layer: str, share: float) -> str:
    return "; ".join(f"poll {layer} {step} collapsed={share}" for step in (70, 80, 90))


CASES = (
    Faulty(
        "most channels below a linear map",
        ("b",),
        _NET,
        "layer a; layer b; train a,b x100; " + _looks("b", 0.8),
        severity="warning",
    ),
    Faulty(
        "two layers in a row",
        ("a", "b"),
        _NET,
        "layer a; layer b; train a,b x100; " + _looks("a", 1.0) + "; " + _looks("b", 0.9),
    ),
    Faulty(
        "all features of an input norm",
        ("a",),
        _INPUT,
        "layer a; train a x100; " + _looks("a", 1.0),
    ),
    Healthy("every channel varies", _NET, "layer a; layer b; train a,b x100; " + _looks("b", 0.0)),
    Healthy("a few dead channels", _NET, "layer a; layer b; train a,b x100; " + _looks("b", 0.2)),
    Healthy(
        "border pixels under an input norm", _INPUT, "layer a; train a x100; " + _looks("a", 0.6)
    ),
    Healthy(
        "rare features behind an activation",
        "v = view(x); a = batch_norm(v); l = linear(a)",
        "layer a; train a x100; " + _looks("a", 0.95),
    ),
    Healthy(
        "origin unknown",
        "o = scatter(x); a = batch_norm(o)",
        "layer a; train a x100; " + _looks("a", 0.7),
    ),
    Healthy("no graph", story="layer a; train a x100; " + _looks("a", 0.7)),
    Healthy(
        "collapsed at the start only",
        _NET,
        "layer a; layer b; train a,b x100; poll b 1 collapsed=1.0; poll b 2 collapsed=1.0; poll b 3 collapsed=1.0; "
        + _looks("b", 0.0),
    ),
    Healthy("one look only", _NET, "layer a; layer b; train a,b x100; poll b 90 collapsed=0.9"),
    Healthy(
        "batch variance unknown",
        _NET,
        "layer a; layer b; train a,b x100; poll b 70 running_var_min=0.1; poll b 80 running_var_min=0.1; poll b 90 running_var_min=0.1",
    ),
    Healthy(
        "statistics that never moved",
        _NET,
        "layer a; layer b fresh_at_end=True; train b updates=False x100; " + _looks("b", 1.0),
    ),
    Faulty(
        "a checkpoint",
        ("a",),
        static="layer a fresh_at_start=False; channels a mean=0.3 var=1e-7",
        severity="warning",
    ),
    Healthy(
        "a checkpoint whose channels vary",
        static="layer a fresh_at_start=False; channels a mean=0.3 var=0.02",
    ),
    Healthy(
        "a checkpoint, just above eps",
        static="layer a fresh_at_start=False; channels a mean=0.3 var=1.1e-5",
    ),
    Healthy(
        "a new head beside it",
        static="layer a loaded=complete fresh_at_start=False; layer b eps=2.0; channels b mean=0.0 var=1.0",
    ),
)

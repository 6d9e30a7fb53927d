from __future__ import annotations

from collections.abc import Iterator

from normscope.concepts.paths import bypassed, flood
from normscope.concepts.wording import named
from normscope.finding import Finding, Measured, Remedy
from normscope.graph.model import Graph, Node
from normscope.record.recording import Layer, Recording
from normscope.rule import Faulty, Healthy, rule

ALL = 0.99  # share of channels; a pruned layer keeps more
SETTLED = 3  # steps; a scale with a gradient has left zero by then


def at_first_sight(graph: Graph) -> Iterator[Finding]:
    """Without a run: the scale may still be meant to be loaded."""
    cuts = dead_ends(graph)
    if not cuts:
        return
    layers = list(dict.fromkeys(n.path for n in cuts))
    names = ", ".join(f"`{x}`" for x in layers[:3]) + (", …" if len(layers) > 3 else "")
    yield Finding(
        f"The scale of {names} is 0 in every channel ({len(layers)} {'layer' if len(layers) == 1 else 'layers'}) and no path "
        "leads around: nothing before it reaches the output or gets a gradient. Start it at 1.",
        severity="warning",
        confidence="medium",
        layers=tuple(layers),
        site=cuts[0].site,
        measured=(Measured("layers with scale 0 on a plain path", len(layers), "layers", high=0),),
        repairs=(_remedy(layers[0]),),
    )


def dead_ends(graph: Graph) -> list[Node]:
    """Norms with scale 0 that nothing leads around."""
    zero = {n.id for n, op in graph.norms() if op.zero_gamma >= ALL}
    return [n for n in graph if n.id in zero and not bypassed(graph, n, zero)]


def _remedy(path: str) -> Remedy:
    return Remedy(
        "start the scale at 1",
        "changes-function",
        f"torch.nn.init.ones_(model.get_submodule({path!r}).weight)",
    )


@rule(
    "NS203",
    severity="error",
    since="0.1.0",
    explains=("NS502", "NS503", "NS504"),
    static=at_first_sight,
)
def zero_gamma_on_plain_path(graph: Graph, recording: Recording) -> Iterator[Finding]:
    r"""The scale γ of a norm is zero in every channel and nothing leads around it.

    ## What it checks
    Norms whose scale was zero in at least 99 % of the channels when the model was captured and still is at the end
    of the run, and that cut the model: no path from what feeds the norm to the
    output it reaches avoids all such norms. Else a warning for two such norms in one branch, where the later one is reached through the
    earlier one alone.

    ## Why it matters
    With $\gamma = 0$ the output is $\beta$, whatever the input: nothing before the norm influences the result or gets a gradient. A ReLU
    behind it closes the last way out. Measured on plain networks of 4 and 15 blocks: every weight gradient exactly 0, accuracy at chance.
    At the end of a residual branch the same setting is good practice: the
    skip connection carries the signal, and ResNet-50 gains 0.2 points. Of two in a row neither ever moves: the later one normalizes a
    constant, and stops the gradient of the earlier one. The branch is lost (table, two blocks: explained variance 0.877 against 0.965).

    ## Example
    ```python
    for m in model.modules():  # wrong: also hits norms that no skip connection goes around
        if isinstance(m, nn.BatchNorm2d):
            nn.init.zeros_(m.weight)
    ```

    ## Repair
    Scale 1 everywhere but in the last norm of each residual branch.

    ## Known limits
    Silent when the scale left zero during the run, for single pruned channels, and for a single norm where any path, a gate's too, leads around. With fewer
    than 3 steps observed it is an info; of a model that was only looked at, a warning.

    ## References
    - Goyal et al., *Accurate, Large Minibatch SGD*, 2017, section 5.1. https://arxiv.org/abs/1706.02677
    """
    cuts = dead_ends(graph)
    layers = _still_zero(graph, recording, cuts)
    steps = max((steps_of(recording, x) for x in layers), default=0)
    if not steps:
        yield from _dead_branches(graph, recording)
        return
    names = named(layers)
    yield Finding(
        f"The scale of {names} is 0 in every channel, after {steps} steps still, and no path leads around: "
        "nothing before it reaches the output or gets a gradient. Start it at 1.",
        severity="error" if steps >= SETTLED else "info",
        layers=tuple(x.path for x in layers),
        site=next((n.site for n in cuts if n.path == layers[0].path), None),
        measured=(
            Measured(
                "channels with scale 0 at the end", layers[0].zero_gamma_at_end, "1", high=1 - ALL
            ),
        ),
        repairs=(_remedy(layers[0].path),),
    )


def _still_zero(graph: Graph, recording: Recording, nodes: list[Node]) -> list[Layer]:
    found = (recording.layer_at(graph.model, n.path) for n in nodes)
    return list({x.id: x for x in found if x and x.zero_gamma_at_end >= ALL}.values())


def _dead_branches(graph: Graph, recording: Recording) -> Iterator[Finding]:
    """Two scales of 0 in one branch: what reaches the later one is constant, and the earlier one gets no gradient through it."""
    norms = [n for n, op in graph.norms() if op.zero_gamma >= ALL]
    still = {x.path for x in _still_zero(graph, recording, norms)}
    zero = {n.id for n in norms if n.path in still}
    sources = [n for n in graph if not graph.inputs(n)]
    alive = flood(sources, lambda n: [r for r in graph.readers(n) if r.id not in zero])
    starved = [n for n in norms if n.id in zero and not {i.id for i in graph.inputs(n)} & alive]
    before = flood(starved, graph.inputs)
    layers = _still_zero(graph, recording, [n for n in norms if n.id in zero & before])
    steps = max((steps_of(recording, x) for x in layers), default=0)
    if steps < SETTLED:
        return
    last = starved[0]
    names = named(layers)
    yield Finding(
        f"The scales of {names} are 0 in every channel, after {steps} steps still: they follow one another, so that neither lets a gradient "
        "to the other and their branch does nothing. Start at 1 all but the last of each branch.",
        severity="warning",
        layers=tuple(x.path for x in layers),
        site=last.site,
        measured=(
            Measured(
                "channels with scale 0 at the end", layers[0].zero_gamma_at_end, "1", high=1 - ALL
            ),
        ),
        repairs=(_remedy(layers[0].path),),
    )


def steps_of(recording: Recording, layer: Layer) -> int:
    """Training steps that the layer took part in."""
    spans = {id(s): s for s, _, _ in recording.calls(layer.id, "training")}
    return sum(s.steps for s in spans.values())


_PLAIN = "c = conv(x); a = batch_norm(c, zero_gamma=1.0); r = relu(a); y = linear(r)"
_BRANCH = "c = conv(x); r = relu(c); d = conv(r); a = batch_norm(d, zero_gamma=1.0); s = add(r, a); y = linear(s)"
_STILL = "layer a zero_gamma_at_start=1.0 zero_gamma_at_end=1.0; train a x100"

CASES = (
    Faulty("plain path", ("a",), _PLAIN, _STILL, severity="error"),
    Faulty(
        "stem of a residual network",
        ("a",),
        "c = conv(x); a = batch_norm(c, zero_gamma=1.0); r = relu(a); d = conv(r); b = batch_norm(d, zero_gamma=1.0); s = add(r, b); y = linear(s)",
        "layer a zero_gamma_at_end=1.0; layer b zero_gamma_at_end=1.0; train a,b x100",
        severity="error",
    ),
    Faulty(
        "both sides of an addition",
        ("a", "b"),
        "c = conv(x); a = batch_norm(c, zero_gamma=1.0); d = conv(x); b = batch_norm(d, zero_gamma=1.0); s = add(a, b); y = linear(s)",
        "layer a zero_gamma_at_end=1.0; layer b zero_gamma_at_end=1.0; train a,b x100",
        severity="error",
    ),
    Faulty(
        "two steps only",
        ("a",),
        _PLAIN,
        "layer a zero_gamma_at_end=1.0; train a x2",
        severity="info",
    ),
    Healthy("end of a residual branch", _BRANCH, _STILL),
    Healthy(
        "end of every residual branch",
        _BRANCH + "; e = conv(s); b = batch_norm(e, zero_gamma=1.0); t = add(s, b); z = output(t)",
        "layer a zero_gamma_at_end=1.0; layer b zero_gamma_at_end=1.0; train a,b x100",
    ),
    Faulty(
        "whole branch at zero",
        ("b", "a"),
        "c = conv(x); d = conv(c); b = batch_norm(d, zero_gamma=1.0); r = relu(b); e = conv(r); a = batch_norm(e, zero_gamma=1.0); s = add(c, a); y = linear(s)",
        "layer a zero_gamma_at_end=1.0; layer b zero_gamma_at_end=1.0; train a,b x100",
        severity="warning",
    ),
    Healthy(
        "whole branch at zero, two steps only",
        "c = conv(x); d = conv(c); b = batch_norm(d, zero_gamma=1.0); r = relu(b); e = conv(r); a = batch_norm(e, zero_gamma=1.0); s = add(c, a); y = linear(s)",
        "layer a zero_gamma_at_end=1.0; layer b zero_gamma_at_end=1.0; train a,b x2",
    ),
    Healthy(
        "whole branch began at zero, and its end left it",
        "c = conv(x); d = conv(c); b = batch_norm(d, zero_gamma=1.0); r = relu(b); e = conv(r); a = batch_norm(e, zero_gamma=1.0); s = add(c, a); y = linear(s)",
        "layer a zero_gamma_at_end=0.0; layer b zero_gamma_at_end=1.0; train a,b x100",
    ),
    Healthy(
        "recovered", _PLAIN, "layer a zero_gamma_at_start=1.0 zero_gamma_at_end=0.0; train a x100"
    ),
    Healthy(
        "pruned channels",
        "c = conv(x); a = batch_norm(c, zero_gamma=0.7); y = relu(a)",
        "layer a zero_gamma_at_end=0.7; train a x100",
    ),
    Healthy("scale 1", "c = conv(x); a = batch_norm(c); y = relu(a)", "layer a; train a x100"),
    Healthy(
        "gate of a squeeze-and-excitation block",
        "c = conv(x); p = pool(c, over_all=True); l = linear(p); a = batch_norm(l, zero_gamma=1.0); g = sigmoid(a); m = multiply(c, g); y = linear(m)",
        _STILL,
    ),
    Healthy(
        "joined by concatenation",
        "c = conv(x); a = batch_norm(c, zero_gamma=1.0); s = concat(x, a); y = linear(s)",
        _STILL,
    ),
    Healthy(
        "end of a branch inside an unknown operation",
        "c = conv(x); a = batch_norm(c, zero_gamma=1.0); s = blend(x, a); y = linear(s)",
        _STILL,
    ),
    Healthy(
        "read by nothing that is returned",
        "c = conv(x); a = batch_norm(c, zero_gamma=1.0); y = output(c)",
        _STILL,
    ),
    Healthy("never trained here", _PLAIN, "layer a zero_gamma_at_end=1.0; infer a mode=eval"),
    Faulty("plain path, only looked at", ("a",), _PLAIN, severity="warning"),
    Healthy("end of a residual branch, only looked at", _BRANCH),
    Healthy("scale 1, only looked at", "c = conv(x); a = batch_norm(c); y = relu(a)"),
)

from __future__ import annotations

from collections.abc import Iterator

from normscope.concepts.saturation import SATURATED, STUCK, saturated
from normscope.finding import Finding, Measured, Remedy
from normscope.graph.model import (
    Graph,
)
from normscope.probes.observations import Saturation, Signal
from normscope.rule import Faulty, Healthy, rule


@rule("NS506", severity="error", since="0.1.0", explains=("NS408", "NS502", "NS504"))
def saturated_activation(signal: Signal, graph: Graph) -> Iterator[Finding]:
    """A sigmoid or tanh between layers sits at its ends, where its slope is gone.

    ## What it checks
    Kept batches of the second half of the training are replayed in evaluation mode. For each sigmoid and tanh whose result another layer reads: the share
    of values where its slope is below a hundredth of the steepest (beyond ±2.99 for tanh, ±5.99 for sigmoid), and the share of units that are at the
    same end for 99 % of the values. A warning from 80 % of the values or half of the units.

    ## Why it matters
    The gradient is multiplied by the slope: what lies before a saturated layer stops learning, and a unit that is always at the same end carries no
    information. Normalizing what goes into the activation is the remedy that batch normalization was made for, but a scale γ of 25 behind the norm, or raw inputs
    before the first one, undo it.

    ## Example
    ```python
    nn.Sequential(nn.Linear(3, 48), nn.Tanh(), nn.BatchNorm1d(48))  # NS506 when its inputs are angles of ±180
    ```

    ## Repair
    Put a batch norm with γ near 1 before the activation, standardize the inputs, or initialize smaller.

    ## Known limits
    Silent for outputs of the model, for gates (what is multiplied with something else; of tanh · sigmoid the sigmoid alone), for the inside of recurrent layers and cells, and where fewer saturate. Its own
    severity is a warning; it takes over that of what it explains. Healthy scripts: hidden layers at most 5 % saturated, none stuck; faulty ones from 91 %.
    0 alarms in 258 healthy scripts, one run each (less than 1.2 % with 95 % confidence); most of them have rectifiers, where the rule has nothing to say.
    0 in 60 seeded runs of networks with tanh or sigmoid before or behind their norms, of which the worst had 19 % saturated and none stuck
    (less than 4.9 %; `benchmarks/calibration.py --only squashed`).

    ## References
    - Glorot & Bengio, *Understanding the difficulty of training deep feedforward neural networks*, AISTATS 2010, section 3. https://proceedings.mlr.press/v9/glorot10a.html
    - Ioffe & Szegedy, *Batch Normalization*, 2015, section 3.2. https://arxiv.org/abs/1502.03167
    """
    found = saturated(signal, graph)
    if not found:
        return
    first = found[0]
    where = f"`{first.path}`" if first.path else f"`{signal.name}`"
    yield Finding(
        f"{first.saturated:.0%} of the values of the {first.function} in {where} lie where its slope is below a hundredth of the steepest, and "
        f"{first.stuck:.0%} of its units never leave one end ({len(found)} activations in this state). Normalize what goes into it.",
        severity="warning",
        confidence="high" if signal.samples >= 200 else "medium",
        model=signal.name,
        layers=tuple(dict.fromkeys(a.path for a in found)),
        measured=(
            Measured("saturated values", first.saturated, "1", high=SATURATED),
            Measured("units stuck at one end", first.stuck, "1", high=STUCK),
        ),
        repairs=(
            Remedy(
                "normalize-before",
                "changes-function",
                "`nn.Sequential(linear, nn.BatchNorm1d(features), nn.Tanh())`",
            ),
        ),
    )


def _measured(saturated: float, stuck: float = 0.0, function: str = "tanh") -> dict[str, object]:
    acts = (Saturation("t", function, 0, saturated, stuck),)
    return {"signal": Signal(model=0, name="Net", samples=1000, batches=30, activations=acts)}


_NET = "l = linear(x); t = tanh(l); a = batch_norm(t); y = linear(a); o = output(y)"
_GATED = "l = linear(x); g = linear(x); t = tanh(l); s = sigmoid(g); m = multiply(t, s); y = linear(m); o = output(y)"

CASES = (
    Faulty("most values at the ends", ("t",), _NET, measured=_measured(0.91), severity="warning"),
    Faulty("half of the units stuck", ("t",), _NET, measured=_measured(0.55, 0.55)),
    Faulty(
        "behind a view and a dropout",
        ("t",),
        "l = linear(x); t = sigmoid(l); v = view(t); d = dropout(v); y = linear(d)",
        measured=_measured(1.0, 0.9, "sigmoid"),
    ),
    Faulty(
        "what a sigmoid gates",
        ("t",),
        _GATED,
        measured=_measured(1.0, 0.6),
    ),
    Healthy(
        "the sigmoid that gates it",
        _GATED.replace("t =", "q =").replace("(t, s)", "(q, t)").replace("s =", "t ="),
        measured=_measured(1.0, 1.0, "sigmoid"),
    ),
    Healthy(
        "two tanh multiplied",
        _GATED.replace("sigmoid", "tanh"),
        measured=_measured(1.0, 1.0),
    ),
    Healthy("values near the middle", _NET, measured=_measured(0.05)),
    Healthy("just below", _NET, measured=_measured(0.79, 0.49)),
    Healthy(
        "the output of the model",
        "l = linear(x); a = batch_norm(l); t = sigmoid(a); o = output(t)",
        measured=_measured(1.0, 0.9, "sigmoid"),
    ),
    Healthy(
        "a gate",
        "l = linear(x); t = sigmoid(l); m = multiply(x, t); y = linear(m)",
        measured=_measured(1.0, 1.0, "sigmoid"),
    ),
    Healthy(
        "not in the graph",
        "l = linear(x); r = relu(l); y = linear(r)",
        measured=_measured(1.0, 1.0),
    ),
)

"""Evidence: what a rule may ask for by the names of its parameters.

| name | what | given once per |
|---|---|---|
| `graph` | the captured graph | captured model |
| `recording` | what training did | run |
| `gradients` | norms of gradients and weights at some steps | run |
| `facts` | what the code alone says of its norm layers: settings, parameters and buffers before any data | model |
| `weights` | the same, of a model whose statistics were learned: from a checkpoint, or by who built it | such model |
| `gap` | the answer of the gap probe | probed model |
| `independence` | whether batches are independent draws | replayed model |
| `signal` | values in norms and activations | replayed model |
| `dropout` | input variances with dropout and without | replayed model with dropout |
| `padding` | padding in the statistics | replayed model |
| `port` | the norm layers of a PyTorch and a Keras model | pair of models |
| `coupling` | what outputs owe to their batch mates | model of a setup |
| `domain` | statistics of other data, and what re-estimating gains | model of a setup |
| `regularization` | what each regularizer costs on training data | model of a setup |
| `trial` | arms of a trial beside the unchanged script | script |

Missing evidence makes a rule *not evaluated*, never passed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from normscope.record.recording import CHECKED, PROBED, Channels, Layer, Recording

REPLAYED = "needs kept training inputs, and a script that ends by itself with its model alive"
HINTS: Mapping[str, str] = {
    "graph": "no graph was captured: no training forward pass of a model with norm layers was seen",
    "facts": "no model with norm layers was seen",
    "weights": "no model with learned running statistics was seen",
    "recording": "observe a training run: `normscope run train.py`",
    "gradients": "gradients are sampled from step 10 on, where `backward` leaves them with the weights",
    "gap": "the gap probe needs the script to end by itself with its model alive and training inputs kept",
    "independence": "needs twelve kept training batches of one size, a run long enough to replay them in 5 % of its time, and a script that ends by itself with its model alive",
    "signal": REPLAYED,
    "dropout": REPLAYED,
    "padding": REPLAYED,
    "coupling": "ask for it: `normscope probe coupling file.py:setup`",
    "domain": "ask for it, with held-out or other data: `normscope probe domain file.py:setup`",
    "port": "compare two models: `normscope compare-ports file.py:setup`",
    "regularization": "ask for it: `normscope probe regularization file.py:setup`",
    "trial": "ask for it: `normscope trial --arms group,none --metric PATTERN train.py`",
}

OF_THE_RUN = ("recording", "gradients")

CHECKED_HINTS: Mapping[str, str] = {
    **dict.fromkeys(HINTS, "train under observation: `normscope run train.py`"),
    "graph": "give an input, as in `--input 8,3,224,224`",
    "weights": "give a checkpoint: `--weights model.pt`",
}

PROBED_HINTS: Mapping[str, str] = {
    "graph": "no graph could be captured of the first training batch",
    "recording": "train under observation: `normscope run train.py`",
}
KERAS_HINTS: Mapping[str, str] = {
    "graph": "give an input, channels last: `--input 8,224,224,3`",
    "weights": "give a checkpoint: `--weights model.weights.h5`",
}
UNTRAINED_HINTS = {CHECKED: CHECKED_HINTS, PROBED: PROBED_HINTS}


@dataclass(frozen=True, slots=True)
class Facts:
    """The norm layers of one model as they were built. `model` is its number, `name` its class.

    `stored` has the running statistics by the layer's number, where there are any. Momenta are in PyTorch's sense, whatever the framework.
    """

    model: int
    name: str
    layers: tuple[Layer, ...]
    stored: Mapping[int, Channels]
    framework: str = "torch"


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known, as lists of values by evidence name."""

    values: Mapping[str, list[object]]
    hints: Mapping[str, str]

    def bind(self, needs: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        """Every combination of the asked-for values that belongs together.

        A run has one recording, and gradients of all its models; graphs and probe answers are matched by their model.
        """
        plural = [n for n in needs if n not in OF_THE_RUN]
        shared = {n: self.values[n][0] for n in needs if n in OF_THE_RUN}
        if not plural:
            yield shared
            return
        first, *rest = plural
        for value in self.values.get(first, []):
            bound = {first: value}
            for name in rest:
                match_ = [v for v in self.values.get(name, []) if _model(v) == _model(value)]
                if match_:
                    bound[name] = match_[0]
            if len(bound) == len(plural):
                yield shared | bound

    def missing(self, needs: tuple[str, ...]) -> str | None:
        """The first asked-for name that there is no value of."""
        return next((n for n in needs if not self.values.get(n)), None)


def _model(value: object) -> object:
    return getattr(value, "model", None)


def of_recording(recording: Recording) -> Evidence:
    """The evidence that a recording holds; that of a model which was only looked at tells nothing of training."""
    facts = tuple(_facts(recording))
    values: dict[str, list[object]] = {
        "recording": [recording] if recording.trained else [],
        "gradients": [g] if (g := recording.gradients) is not None and len(g.steps) else [],
        "graph": list(recording.graphs),
        "facts": list(facts),
        "weights": [f for f in facts if _learned(f)],
        **recording.measurements,
    }
    hints = {**HINTS, **UNTRAINED_HINTS.get(recording.status, {})}
    if recording.framework == "keras" and recording.status == CHECKED:
        hints |= KERAS_HINTS
    return Evidence(values, hints)


def _learned(facts: Facts) -> bool:
    return any(x.loaded or x.fresh_at_start is False for x in facts.layers)


def _facts(recording: Recording) -> Iterator[Facts]:
    for model in recording.models.values():
        layers = tuple(x for x in recording.layers.values() if x.model == model.id)
        if layers:
            ids = {x.id for x in layers}
            stored = {k: c for k, c in recording.channels.items() if k in ids}
            yield Facts(model.id, model.name, layers, stored, recording.framework)

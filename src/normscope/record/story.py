"""A recording from a few lines of text, for rule cases.

    layer a channels=8 momentum=0.01
    train a batch=32 x100
    infer a mode=train batch=64 x5 then=training

One statement a line (or between `;`). Every `train` forward is followed by a step.

| statement | words | means |
|---|---|---|
| `framework NAME` | | `keras`; without it `torch` |
| `model` | fields of `Model` | facts of the model; without it a stepped model called `Net` |
| `source` | fields of `Model` | another model that is trained; the first has id 1 |
| `steps N` | | so many steps of another model |
| `layer NAME` | fields of `Layer` | a norm layer of the model |
| `train NAMES` | `mode=train\\|eval` `batch=` `values=` `updates=` `momentum=` `recomputed=` `trainable=` `same=` `joined=` `since=` `steps=` `line=` `beside=True` `xN` | training forwards; `beside`: since that step, at steps told before |
| `infer NAMES` | as above, `blocks=` `steps=` `then=` `root=train\\|eval` `scored=` `feeding=` | inference forwards |
| `event KIND` | fields of `Event`, `layer=NAME` | something that happened once |
| `contrast NAME` | fields of `Contrast` | a later call of the step against the first: another forward, or `position=1` |
| `poll NAME STEP` | names of `SERIES` | running statistics at a step |
| `channels NAME` | `mean=` `var=`, a number or one per channel | running statistics at the end |
| `loss STEP VALUE` | | the loss at a step |
| `gradient STEP PATH=NORM` | `PATH=(NORM, WEIGHT)` | gradient norms of weights at a step, and the weights' own (1) |
| `end STATUS` | | how the run ended; without it `exit 0` |
"""

from __future__ import annotations

import ast
from typing import Any

import msgspec
import numpy as np

from normscope.graph.model import Site
from normscope.record.recording import (
    SERIES,
    Call,
    Channels,
    Contrast,
    Event,
    Gradients,
    GradientSample,
    Layer,
    Model,
    Parameter,
    Pattern,
    Polls,
    Recording,
    Scalars,
    Span,
)


def story(text: str) -> Recording:
    """Build the recording that `text` tells. Raises ValueError on a line that it cannot read."""
    told = _Teller()
    for line in text.replace(";", "\n").splitlines():
        if line.strip():
            verb, *words = line.split()
            say = getattr(told, f"say_{verb}", None)
            if say is None:
                raise ValueError(
                    f"A story says framework, model, source, steps, layer, train, infer, event, poll, channels, loss, gradient or end; got `{line}`."
                )
            say(*_split(words))
    return told.finish()


def _split(words: list[str]) -> tuple[list[str], dict[str, Any], int]:
    """Bare words, `key=value` words, and the N of `xN` (1 without it)."""
    bare, named, times = list[str](), dict[str, Any](), 1
    for w in words:
        key, eq, value = w.partition("=")
        if eq:
            named[key] = _value(value)
        elif w[0] == "x" and w[1:].isdigit():
            times = int(w[1:])
        else:
            bare.append(w)
    return bare, named, times


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


class _Teller:
    def __init__(self) -> None:
        self.model = Model(
            id=0, name="Net", optimized=True, optimized_share=1.0, parameters_changed=True
        )
        self.sources: dict[int, Model] = {}
        self.layers: dict[str, Layer] = {}
        self.recording = Recording(target="story", status="exit 0")
        self.polls: list[tuple[int, int, dict[str, float]]] = []
        self.losses: list[tuple[int, float]] = []
        self.gradients: list[GradientSample] = []
        self.parameters: dict[str, Parameter] = {}

    def say_framework(self, bare: list[str], _named: dict[str, Any], _: int) -> None:
        [self.recording.framework] = bare

    def say_model(self, _bare: list[str], named: dict[str, Any], _: int) -> None:
        self.model = msgspec.structs.replace(self.model, **named)

    def say_source(self, _bare: list[str], named: dict[str, Any], _: int) -> None:
        number = 1 + len(self.sources)
        facts: dict[str, Any] = {"name": "Net", "optimized": True, "parameters_changed": True}
        self.sources[number] = Model(id=number, **(facts | named))

    def say_steps(self, bare: list[str], _named: dict[str, Any], _: int) -> None:
        self.recording.steps += int(bare[0])

    def say_layer(self, bare: list[str], named: dict[str, Any], _: int) -> None:
        [name] = bare
        facts: dict[str, Any] = {
            "type": "BatchNorm2d",
            "channels": 8,
            "fresh_at_start": True,
            "fresh_at_end": False,
            "trainable": True,
            "optimized": True,
            "parameters_changed": True,
        }
        self.layers[name] = Layer(id=len(self.layers), model=0, path=name, **(facts | named))

    def say_train(self, bare: list[str], named: dict[str, Any], times: int) -> None:
        first = self.recording.steps
        if not named.get("beside"):
            self.recording.steps += times
        self._span("training", bare, named, times, first, self.recording.steps - 1)

    def say_infer(self, bare: list[str], named: dict[str, Any], times: int) -> None:
        self._span("inference", bare, named, times, self.recording.steps, self.recording.steps)

    def say_event(self, bare: list[str], named: dict[str, Any], _: int) -> None:
        if "layer" in named:
            named["layer"] = self.layers[named["layer"]].id
        self.recording.events.append(Event(kind=bare[0], **named))

    def say_contrast(self, bare: list[str], named: dict[str, Any], _: int) -> None:
        [name] = bare
        facts: dict[str, Any] = {"steps": 30, "samples": 32, "mean_t": 20.0, "log_var_t": 20.0}
        facts |= {"forward": int("position" not in named), "last_step": self.recording.steps}
        told = Contrast(layer=self.layers[name].id, **(facts | named))
        self.recording.contrasts.append(told)

    def say_poll(self, bare: list[str], named: dict[str, Any], _: int) -> None:
        name, step = bare
        self.polls.append((int(step), self.layers[name].id, named))

    def say_channels(self, bare: list[str], named: dict[str, Any], _: int) -> None:
        layer = self.layers[bare[0]]
        mean, var = (
            np.broadcast_to(np.asarray(named[k], dtype=np.float64), (layer.channels,)).copy()
            for k in ("mean", "var")
        )
        self.recording.channels[layer.id] = Channels(mean, var)

    def say_loss(self, bare: list[str], _named: dict[str, Any], _: int) -> None:
        step, value = bare
        self.losses.append((int(step), float(value)))

    def say_gradient(self, bare: list[str], named: dict[str, Any], _: int) -> None:
        [step] = bare
        for path in named:
            self.parameters.setdefault(path, Parameter(len(self.parameters), 0, path))
        pairs: list[tuple[float, float]] = [
            v if isinstance(v, tuple) else (v, 1.0) for v in named.values()
        ]
        gradient = tuple(float(g) for g, _ in pairs)
        weight = tuple(float(w) for _, w in pairs)
        numbers = tuple(self.parameters[path].id for path in named)
        self.gradients.append(GradientSample(int(step), numbers, gradient, weight))

    def say_end(self, bare: list[str], _named: dict[str, Any], _: int) -> None:
        self.recording.status = " ".join(bare)

    def _span(
        self, kind: Any, bare: list[str], named: dict[str, Any], times: int, first: int, last: int
    ) -> None:
        root_trains = named.get("root", named.get("mode", "train")) == "train"
        batch_stats = named.get("mode", "train") == "train"
        calls: list[Call] = []
        for name in bare[0].split(","):
            layer = self.layers[name]
            updates = named.get("updates", batch_stats and layer.tracks)
            samples = named.get("batch", 32)
            call = Call(
                layer=layer.id,
                batch_stats=batch_stats,
                updates=updates,
                samples=samples,
                values=named.get("values", samples),
                momentum=named.get("momentum", layer.momentum),
                trainable=named.get("trainable"),
            )
            calls.append(call)
            if named.get("recomputed"):  # the same call, once more during backward
                calls.append(msgspec.structs.replace(call, recomputed=True))
            layer.updates += times * updates * (2 if named.get("recomputed") else 1)
        r = self.recording
        site = Site("train.py", named["line"]) if "line" in named else None
        pattern = Pattern(len(r.patterns), 0, root_trains, tuple(calls), site)
        r.patterns[pattern.id] = pattern
        blocks = named.get("blocks", 1)
        then = named.get("then")
        r.spans.append(
            Span(
                pattern=pattern.id,
                kind=kind,
                first_step=named.get("since", first),
                last_step=last,
                forwards=times,
                blocks=blocks,
                steps=named.get("steps", blocks if kind == "inference" else times),
                same_input=named.get("same", 0),
                joined=named.get("joined", 0),
                scored=named.get("scored", 0),
                feeding=named.get("feeding", 0),
                followed_by={then: blocks} if then else {},
            )
        )

    def finish(self) -> Recording:
        r = self.recording
        self.model.norm_layers = len(self.layers)
        r.models = {0: self.model, **self.sources}
        r.layers = {x.id: x for x in self.layers.values()}
        for span in r.spans:
            if span.kind == "inference" and span.last_step >= r.steps:
                span.after_end = span.forwards
                span.followed_by = span.followed_by or {"end": span.blocks}
        if self.polls:
            r.polls = _table(self.polls)
        if self.gradients:
            r.gradients = Gradients.of(self.parameters.values(), self.gradients)
        if self.losses:
            steps, loss = zip(*sorted(self.losses), strict=True)
            r.scalars = Scalars(np.array(steps), np.array(loss), np.full(len(steps), 0.1))
        return r


def _table(told: list[tuple[int, int, dict[str, float]]]) -> Polls:
    steps = sorted({s for s, _, _ in told})
    layers = tuple(sorted({k for _, k, _ in told}))
    values = {name: np.full((len(steps), len(layers)), np.nan, dtype=np.float32) for name in SERIES}
    for step, layer, facts in told:
        for name, value in facts.items():
            values[name][steps.index(step), layers.index(layer)] = value
    return Polls(np.array(steps, dtype=np.int64), layers, values)

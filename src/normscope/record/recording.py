"""What was observed of a run. Rules and reports read this; it imports no framework.

The words are those of the design: a *training forward* is an outermost model call whose autograd
graph a later backward used, an *inference forward* is any other; a *step* is a change of trainable
parameters after a training forward. Steps count from 1; events before the first step have step 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from normscope.graph.model import Graph, NormKind, Site
from normscope.record.written import Source, Written

ForwardKind = Literal["training", "inference"]
# `complete`: parameters and running statistics. `parameters`: no running statistics with them. `misnamed`: a state dict
# held it under another prefix and gave the model nothing at all.
Loaded = Literal["complete", "parameters", "misnamed"]
# The status of a recording without training: of a model that was looked at, and of one that was asked.
CHECKED, PROBED = "checked", "probed"


class Layer(msgspec.Struct, kw_only=True):
    """One normalization layer, or one functional call site with its own running statistics."""

    id: int
    model: int
    path: str
    type: str  # class name as the user knows it; `batch_norm` for a functional call
    kind: NormKind = "batch"
    channels: int = 0
    eps: float = 1e-5
    momentum: float | None = 0.1  # PyTorch's sense; None: cumulative average
    affine: bool = True
    tracks: bool = True  # keeps running statistics
    synchronized: bool = False  # statistics pooled over ranks
    registered: bool = True  # reachable from its model's `modules()`
    instances: int = (
        1  # modules that took this place, one after the other: built anew in every forward
    )
    site: Site | None = None  # where the user's code calls it
    dtype: str = "float32"  # of the running statistics
    fresh_at_start: bool | None = None  # running statistics were exactly 0 and 1 when first seen
    fresh_at_end: bool | None = None  # and are so still
    statistics_changed: bool | None = None  # since first seen, by whomever; None: keeps none
    updates: int = 0  # times that running statistics were moved under observation
    zero_gamma_at_start: float = 0.0  # share of channels whose scale is exactly 0
    zero_gamma_at_end: float = 0.0
    trainable: bool | None = None  # scale or shift requires a gradient at the end; None: not affine
    optimized: bool = False  # scale or shift belongs to an optimizer that stepped
    parameters_changed: bool | None = None  # scale or shift moved under observation; None: unknown
    feeders_frozen: bool | None = None  # no parameter of its parent module moved; None: unknown
    feeders_optimized: bool | None = None  # most of its parent's other parameters are optimized
    gamma_mean_at_start: float | None = None  # over channels, when first seen; None: no scale
    gamma_sd_at_start: float = 0.0
    beta_rms_at_start: float | None = None  # 0 where no training has touched it; None: no shift
    weight_decay: float | None = None  # of scale or shift; None: in no optimizer
    loaded: Loaded | None = None  # what state dicts gave it; None: none was loaded
    loaded_step: int = 0  # steps done at the last one that gave it parameters
    loaded_site: Site | None = None
    renorm: bool = False  # corrects batch statistics by the running ones (batch renormalization)
    renorm_rmax: float | None = None  # bound on the correction of the scale; None: without bound
    renorm_dmax: float | None = None  # bound on that of the mean; None: without bound


class Model(msgspec.Struct, kw_only=True):
    """An outermost module that the script called."""

    id: int
    name: str  # class name
    parameters: int = 0
    norm_layers: int = 0
    optimized: bool = False  # an optimizer that stepped holds some of its parameters
    optimized_share: float = 0.0  # share of its parameters that some stepping optimizer holds
    parameters_changed: bool | None = None  # by whomever: an optimizer, an average, by hand
    copy_of: int | None = None  # same class and shapes as an earlier model: EMA, teacher, target
    restored_from: int | None = (
        None  # the trained model whose parameter values it had when first seen
    )
    # Evaluations on other weights than those that training went on from, of the ones that were looked at.
    stand_ins: int = 0
    feeds: tuple[int, ...] = ()  # models whose training forwards read its outputs
    compiled: bool = False  # then only buffers are observed
    unfollowed: int = 0  # batch norms of a training forward that ran past `torch.nn.functional`
    site: Site | None = None  # where the script first called it
    alive: bool = True  # at the script's end, so that probes could ask it


class Call(msgspec.Struct, frozen=True):
    """One norm operation inside one forward."""

    layer: int
    batch_stats: bool  # normalized with this batch's statistics
    updates: bool  # and moved the running statistics
    samples: int  # size of dimension 0
    values: int  # values that each mean was taken over
    momentum: float | None = 0.1
    recomputed: bool = False  # ran again during backward (activation checkpointing)
    trainable: bool | None = (
        None  # the scale required a gradient at the time; None: no scale, or unknown
    )


class Pattern(msgspec.Struct, frozen=True):
    """What one outermost forward did, apart from the numbers: forwards that agree in it are counted together."""

    id: int
    model: int
    training: bool  # the root module's flag
    calls: tuple[Call, ...]
    site: Site | None = None  # where the script called the model


class Span(msgspec.Struct, kw_only=True):
    """Forwards of one model, of one kind and one pattern, with no other pattern of that model and kind between.

    A *block* is a run of forwards that no backward and no step interrupts: one evaluation pass is one block.
    `followed_by` tells what the same model did next after each block that ended: `training`,
    `evaluation` (an inference forward with other modes) or `end`.
    """

    pattern: int
    kind: ForwardKind
    first_step: int  # steps done when the first of them ran
    last_step: int
    forwards: int = 1
    blocks: int = 1
    steps: int = 1  # distinct step numbers among them
    same_input: int = 0  # forwards that got the very tensor of the forward before
    joined: int = 0  # training forwards with no backward between them and the model's one before
    after_end: int = 0  # forwards that ran after the last step; known when the run ended
    scored: int = 0  # forwards whose output met a loss function or a class decision
    feeding: int = 0  # forwards whose output entered another model's forward
    followed_by: dict[str, int] = msgspec.field(default_factory=dict[str, int])


class Event(msgspec.Struct, kw_only=True):
    """Something that happened once.

    kinds: `crash` (the script ended with an exception; `detail` is its last line),
    `single-value` (batch norm refused one value per channel), `nonfinite` (running statistics;
    `detail` names buffer and channel), `compiled`, `observer-error` (ours; observing stopped), `stopped` (observing, as was asked for),
    `compiled-loop` (the steps of Keras' `fit` are compiled), `not-compiled` (they treat a layer as `detail` says, `trained` or
    `frozen`, while its `trainable` was changed since), `not-probed`, `keras`, `traced` (by TorchScript, with norms in training mode).
    """

    kind: str
    step: int = 0
    layer: int | None = None
    model: int | None = None
    detail: str = ""
    site: Site | None = None
    since_step: int | None = None  # not before this step


class Contrast(msgspec.Struct, kw_only=True):
    """How a later training call of a layer differs in its batch statistics from the layer's first one of the same step.

    A place in a step is the line that called the model, the number of that forward among those of the step that
    reach the layer, and the number of the call inside the forward; the first call's numbers are 0 and 0. `mean` is the
    systematic difference of the batch means in standard deviations within a batch, `log_var` that of the
    logarithms of the batch variances, both rms over channels without the part that noise adds; `mean_t` and
    `log_var_t` are their sizes in standard errors over `steps` sampled steps (bounds: Student's t).
    """

    layer: int
    site_first: Site | None = None
    site: Site | None = None
    forward: int = 0
    position: int = 0
    samples: int = 0  # the smaller dimension 0 of the two
    steps: int = 0
    last_step: int = 0
    same_input: int = (
        0  # of these steps, those in which the later forward got the data of the one before
    )
    recovered: float = 1.0  # share of channels whose batch statistics could be recovered
    mean: float = 0.0
    mean_t: float = 0.0
    log_var: float = 0.0
    log_var_t: float = 0.0


SERIES = (
    "mean_noise",  # rms over channels of (batch mean − running mean) / running sd
    "var_noise",  # rms over channels of ln(batch variance / running variance)
    "running_var_min",
    "running_var_max",
    "batch_var_min",  # over channels; NaN where it could not be recovered
    "collapsed",  # share of channels whose batch variance is below eps
    "recovered",  # share of channels whose batch statistics could be recovered
)


@dataclass(slots=True)
class Polls:
    """Running statistics read at sampled steps: `values[name][i, k]` is layer `layers[k]` at `steps[i]`."""

    steps: NDArray[np.int64]
    layers: tuple[int, ...]
    values: dict[str, NDArray[np.float32]]


@dataclass(slots=True)
class Scalars:
    """Loss and learning rate at sampled steps."""

    steps: NDArray[np.int64]
    loss: NDArray[np.float64]
    lr: NDArray[np.float64]


class Parameter(msgspec.Struct, frozen=True):
    """A trained tensor of two or more dimensions, by its place in a model."""

    id: int
    model: int
    path: str  # the module's path and the tensor's name: `layer1.conv.weight`


class GradientSample(msgspec.Struct, frozen=True):
    """L2 norms of the gradients that one optimizer found at its step, and of the weights that it changed."""

    step: int
    parameters: tuple[int, ...]
    gradient: tuple[float, ...]
    weight: tuple[float, ...]


@dataclass(slots=True)
class Gradients:
    """L2 norms at sampled steps: `gradient[i, k]` is that of `parameters[k]` at `steps[i]`; NaN: not sampled."""

    steps: NDArray[np.int64]
    parameters: tuple[Parameter, ...]
    gradient: NDArray[np.float64]
    weight: NDArray[np.float64]

    @classmethod
    def of(cls, parameters: Iterable[Parameter], samples: Iterable[GradientSample]) -> Gradients:
        """Samples of several optimizers at one step make one row; of one parameter, the last counts."""
        parameters, samples = tuple(parameters), tuple(samples)
        steps = sorted({s.step for s in samples})
        row = {step: i for i, step in enumerate(steps)}
        column = {p.id: k for k, p in enumerate(parameters)}
        gradient, weight = np.full((2, len(steps), len(parameters)), np.nan)
        for s in samples:
            at = [column[p] for p in s.parameters]
            gradient[row[s.step], at], weight[row[s.step], at] = s.gradient, s.weight
        return cls(np.array(steps, dtype=np.int64), parameters, gradient, weight)


@dataclass(slots=True)
class Channels:
    """Per-channel statistics of one layer at the end: float64 arrays of shape (channels,)."""

    running_mean: NDArray[np.float64]
    running_var: NDArray[np.float64]
    population_mean: NDArray[np.float64] | None = None  # recomputed by the gap probe
    population_var: NDArray[np.float64] | None = None


class Cost(msgspec.Struct, kw_only=True):
    """Seconds spent observing, seconds of the observed loop, and the budget as a share of the latter."""

    budget: float = 0.01
    observing: float = 0.0
    loop: float = 0.0
    startup: float = 0.0  # once: installing, capturing graphs
    probing: float = 0.0  # once, at the end

    @property
    def overhead(self) -> float:
        """Observing as a share of the loop without it."""
        bare = self.loop - self.observing
        return self.observing / bare if bare > 0 else 0.0


@dataclass(slots=True)
class Recording:
    """Everything that is known of one run."""

    target: str = ""
    framework: str = "torch"
    framework_version: str = ""
    backend: str = ""  # that computes for Keras: torch, tensorflow or jax
    arguments: tuple[str, ...] = ()
    started: float = 0.0  # seconds since the epoch
    status: str = "unknown"  # `exit 0`, `exception ValueError`, `signal 9`, `running`, `checked`…
    steps: int = 0
    models: dict[int, Model] = field(default_factory=dict[int, Model])
    layers: dict[int, Layer] = field(default_factory=dict[int, Layer])
    patterns: dict[int, Pattern] = field(default_factory=dict[int, Pattern])
    spans: list[Span] = field(default_factory=list[Span])
    events: list[Event] = field(default_factory=list[Event])
    contrasts: list[Contrast] = field(default_factory=list[Contrast])
    graphs: list[Graph] = field(default_factory=list[Graph])
    polls: Polls | None = None
    scalars: Scalars | None = None
    gradients: Gradients | None = None
    channels: dict[int, Channels] = field(default_factory=dict[int, Channels])
    measurements: dict[str, list[object]] = field(default_factory=dict[str, list[object]])
    metrics: dict[str, list[tuple[int, float]]] = field(
        default_factory=dict[str, list[tuple[int, float]]]
    )
    optimizers: list[str] = field(default_factory=list[str])
    written: list[Written] = field(default_factory=list[Written])
    sources: dict[str, Source] = field(default_factory=dict[str, Source])  # by the file as shown
    file: str = ""  # that it was read from
    cost: Cost = field(default_factory=Cost)

    @property
    def trained(self) -> bool:
        """Whether training was watched; a model that was only looked at or asked tells nothing of it."""
        return self.status not in (CHECKED, PROBED)

    def calls(
        self, layer: int, kind: ForwardKind | None = None
    ) -> Iterator[tuple[Span, Pattern, Call]]:
        """Every call of `layer`, in the order of first appearance, with the span and pattern around it."""
        for span in self.spans:
            if kind is None or span.kind == kind:
                pattern = self.patterns[span.pattern]
                for call in pattern.calls:
                    if call.layer == layer:
                        yield span, pattern, call

    def events_of(self, kind: str) -> list[Event]:
        return [e for e in self.events if e.kind == kind]

    def layer_at(self, model: int, path: str) -> Layer | None:
        """The recorded layer behind a graph node's path."""
        return next((x for x in self.layers.values() if x.model == model and x.path == path), None)

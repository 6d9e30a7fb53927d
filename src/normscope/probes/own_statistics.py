# pyright: basic
"""Running statistics that a layer of the user's keeps by itself, told by what they do and not by what they are called.

A training forward repeated on the same batch moves a running average r with weight α from r₀ to r₁ and on to r₂, and
r₂ − r₁ = (1 − α)(r₁ − r₀) in every channel, whatever the batch: that gives α, and the batch's own value r₀ + (r₁ − r₀)/α. They are
the statistics of a norm when training normalizes without them and evaluation with them; or when training corrects the batch's by them
(batch renormalization, Ioffe 2017), so that both give one output, while the gradient still runs through the batch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.errors import NormscopeError
from normscope.graph.torch import contents, tensors_of
from normscope.probes.clock import now
from normscope.probes.observations import OwnStatistics
from normscope.probes.replay import bare, respond, set_mode
from normscope.probes.untouched import untouched
from normscope.record.torch.batches import Kept
from normscope.record.torch.norms import clean_path

MOST = 32  # layers that are asked one by one
ALIKE = 1e-4  # of an output's size; what differs less is rounding
STRAIGHT = 0.02  # of the first movement, by which the second may miss the rule above
SLOWEST = 1e-5  # weight of a batch, below which movement is rounding
Values = list[torch.Tensor]


@dataclass(eq=False, slots=True)
class Holder:
    """A module and the tensors of one size that it holds beside its parameters."""

    path: str
    owner: nn.Module
    names: tuple[str, ...]
    momentum: float = 0.0

    def values(self) -> Values:
        return [getattr(self.owner, n) for n in self.names]

    def put(self, values: Values) -> None:
        for name, value in zip(self.names, values, strict=True):
            setattr(self.owner, name, value.clone())

    @property
    def fresh(self) -> bool:
        """Whether every tensor is still all 0 or all 1."""
        return all(
            bool((v == v.flatten()[0]).all()) and float(v.flatten()[0]) in (0.0, 1.0)
            for v in self.values()
        )


class Model:
    """The model with its holders. To be used inside `untouched`."""

    def __init__(
        self, model: nn.Module, holders: Sequence[Holder], frozen: Collection[nn.Module]
    ) -> None:
        self.model = model
        self.holders = list(holders)
        self.frozen = set(frozen)
        self.state = {h: [v.detach().clone() for v in h.values()] for h in self.holders}

    def restore(self) -> None:
        for holder, values in self.state.items():
            holder.put(values)

    def train(self, batch: Kept) -> Any:
        """A forward as training makes it, dropout off; the same random numbers every time."""
        for module in contents.modules(self.model):
            dropout = isinstance(module, nn.modules.dropout._DropoutNd)
            module.training = not (dropout or module in self.frozen)
        torch.manual_seed(0)
        with torch.enable_grad():  # some layers take it for the mode
            return respond(self.model, batch)

    def evaluate(self, batch: Kept) -> Any:
        set_mode(self.model)
        torch.manual_seed(0)
        return respond(self.model, batch)

    def moved(self, batch: Kept) -> dict[Holder, Values]:
        """The values after one training forward from the stored ones."""
        self.restore()
        self.train(batch)
        return {h: [v.detach().clone() for v in h.values()] for h in self.holders}


def find(
    module: nn.Module,
    kept: Sequence[Kept],
    *,
    places: Sequence[tuple[str, tuple[str, ...]]],
    uncalled: Collection[_BatchNorm],
    frozen: Collection[nn.Module],
    model_id: int,
    name: str,
    seconds: float,
) -> tuple[list[Holder], list[OwnStatistics]]:
    """The layers of `module` that keep statistics by themselves, if they do, at `places`: paths, and the names of tensors.

    `uncalled` are batch norms whose statistics moved without a call of them, `frozen` layers that training ran in evaluation mode.

    Raises NormscopeError where there is nothing to ask with.
    """
    if len(kept) < 2:
        raise NormscopeError("fewer than two training batches were kept")
    deadline = now() + seconds
    holders = list(_holders(module, places, uncalled))[:MOST]
    module = bare(module)
    found: list[OwnStatistics] = []
    with untouched(module), lent(holders):
        model = Model(module, holders, frozen)
        _measure_momentum(model, kept[-1])
        for holder in holders:
            if not (holder.momentum or holder.fresh) or now() > deadline:
                continue
            told: dict[str, Any] = {"momentum": holder.momentum, "fresh": holder.fresh}
            if (bounds := _renormalizes(model, holder, kept[-1])) is not None:
                told |= {"renorm": True, "bounded_scale": bounds[0], "bounded_shift": bounds[1]}
            elif not _of_a_norm(model, holder, kept[-1]):
                continue
            told["channels"] = holder.values()[0].numel()
            found.append(
                OwnStatistics(
                    model=model_id, name=name, path=holder.path, buffers=holder.names, **told
                )
            )
        model.restore()
    known = {f.path for f in found}
    return [h for h in holders if h.path in known], found


def _holders(
    model: nn.Module,
    places: Sequence[tuple[str, tuple[str, ...]]],
    uncalled: Collection[_BatchNorm],
) -> Iterator[Holder]:
    modules = dict(contents.named_modules(model))
    for path, names in places:
        owner = modules.get(path)
        held = [getattr(owner, n, None) for n in names]
        if owner is not None and all(type(v) is torch.Tensor for v in held):
            yield Holder(clean_path(path), owner, names)
    for path, module in modules.items():
        if module in uncalled:
            yield Holder(clean_path(path), module, ("running_mean", "running_var"))


@contextmanager
def lent(holders: Sequence[Holder]) -> Iterator[None]:
    """Copies in place of the tensors: what is no buffer would not come back by itself."""
    own = [(h, h.values()) for h in holders]
    for holder, values in own:
        holder.put(values)
    try:
        yield
    finally:
        for holder, values in own:
            for name, value in zip(holder.names, values, strict=True):
                setattr(holder.owner, name, value)


def _measure_momentum(model: Model, batch: Kept) -> None:
    first = model.moved(batch)
    model.train(batch)
    second = {h: h.values() for h in model.holders}
    for holder in model.holders:
        holder.momentum = _momentum(model.state[holder], first[holder], second[holder])
        if not holder.momentum:
            # Where layers before it read their averages in training, theirs must stand still meanwhile.
            model.restore()
            holder.put(first[holder])
            model.train(batch)
            holder.momentum = _momentum(model.state[holder], first[holder], holder.values())
    model.restore()


def _momentum(before: Values, first: Values, second: Values) -> float:
    """The weight α that all of a holder's tensors share; 0 where they do not move as averages do."""
    shares = [
        _share((b - a).detach().flatten().double(), (c - b).detach().flatten().double())
        for a, b, c in zip(before, first, second, strict=True)
    ]
    known = [s for s in shares if s is not None]
    return known[0] if len(known) == len(shares) and max(known) - min(known) <= STRAIGHT else 0.0


def _share(one: torch.Tensor, two: torch.Tensor) -> float | None:
    """α from two movements on one batch; None when they are not those of a running average."""
    size = float(one.norm())
    if not size > 0 or not bool(two.isfinite().all()):
        return None
    kept = float(one @ two) / size**2
    straight = float((two - kept * one).norm()) <= STRAIGHT * size
    return 1 - kept if straight and SLOWEST < 1 - kept <= 1 + STRAIGHT else None


def _of_a_norm(model: Model, holder: Holder, batch: Kept) -> bool:
    """Whether training does without the values and evaluation does not."""
    outputs: list[list[torch.Tensor]] = []
    for run in (model.train, model.evaluate):
        given: list[torch.Tensor] = []
        # Two ways, because a rectifier may hide what one of them does.
        for change in (lambda v: v, lambda v: 2 * v + 1, lambda v: v / 4):
            model.restore()
            holder.put([change(v) for v in model.state[holder]])
            given.append(_flat(run(batch)))
        outputs.append(given)
    model.restore()
    in_training, in_evaluation = ([_alike(g[0], x) for x in g[1:]] for g in outputs)
    return all(in_training) and not all(in_evaluation)


def _renormalizes(model: Model, holder: Holder, batch: Kept) -> tuple[bool, bool] | None:
    """Whether the corrections of scale and shift are bounded; None for what is no batch renormalization.

    Asked of the layer alone: its input is caught, and statistics far from it are put in.
    """
    caught: list[torch.Tensor] = []
    handle = holder.owner.register_forward_pre_hook(lambda _, args: caught.extend(args[:1]))
    try:
        model.restore()
        model.train(batch)
    finally:
        handle.remove()
    x = caught[0].detach() if caught and isinstance(caught[0], torch.Tensor) else None
    if x is None or not x.is_floating_point() or len(x) < 2 or not holder.momentum:
        return None
    if not _agrees(holder, x, model.state[holder]) or not _reads_mates(model, holder, x):
        return None
    far = [
        [v + 1000 * (i == k) * (1 + v.abs()) for k, v in enumerate(model.state[holder])]
        for i in range(len(holder.names))
    ]
    agree = [_agrees(holder, x, values) for values in far]
    if not _reads(holder, x, [model.state[holder], *far]):
        return None  # one output, because neither mode reads them
    model.restore()
    positive = [bool((v > 0).all()) for v in model.state[holder]]
    # The value that cannot be negative is the scale's; where both are positive, what one lets pass both do.
    scale = next((a for a, p in zip(agree, positive, strict=True) if p), all(agree))
    shift = next((a for a, p in zip(agree, positive, strict=True) if not p), all(agree))
    return not scale, not shift


def _agrees(holder: Holder, x: torch.Tensor, values: Values) -> bool:
    outputs: list[torch.Tensor] = []
    for training in (True, False):
        holder.put(values)
        holder.owner.training = training
        with torch.set_grad_enabled(training):
            outputs.append(_flat(holder.owner(x.clone())))
    return _alike(*outputs)


def _reads(holder: Holder, x: torch.Tensor, choices: Sequence[Values]) -> bool:
    """Whether evaluation gives another output for other values."""
    outputs: list[torch.Tensor] = []
    for values in choices:
        holder.put(values)
        holder.owner.training = False
        outputs.append(_flat(holder.owner(x.clone())))
    return not all(_alike(outputs[0], out) for out in outputs[1:])


def _reads_mates(model: Model, holder: Holder, x: torch.Tensor) -> bool:
    """Whether the gradient of one sample's output reaches another sample."""
    holder.put(model.state[holder])
    holder.owner.training = True
    given = x.clone().requires_grad_()
    with torch.enable_grad():
        out = holder.owner(given)
        weights = torch.linspace(-1, 1, out[0].numel(), device=out.device, dtype=out.dtype)
        (gradient,) = torch.autograd.grad((out[0].flatten() * weights).sum(), given)
    return bool(gradient[1:].abs().max() > 1e-6 * gradient[0].abs().max())


def _flat(out: Any) -> torch.Tensor:
    tensors = [t.detach().double().flatten() for t in tensors_of(out) if t.is_floating_point()]
    return torch.cat(tensors) if tensors else torch.zeros(0)


def _alike(x: torch.Tensor, y: torch.Tensor) -> bool:
    if x.shape != y.shape or not bool(x.isfinite().all()) or not x.numel():
        return False
    return float((x - y).norm()) <= ALIKE * max(float(x.norm()), 1e-12)

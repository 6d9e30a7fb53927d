# pyright: basic
"""What a probe is asked about: a model, its data and its loss, as the user hands them over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from torch import nn

from normscope.errors import NormscopeError, did_you_mean
from normscope.graph.torch import tensors_of
from normscope.probes.criteria import Criterion, known, per_sample
from normscope.probes.feeding import Fed, Forward, feeder
from normscope.probes.replay import bare, to_device
from normscope.probes.untouched import undrawn, untouched
from normscope.record.torch.batches import Kept
from normscope.record.torch.norms import name_of, norms_in

SAMPLES = (
    4096  # of each loader: statistics of 10³ to 10⁴ samples are near-optimal (Wu & Johnson 2021)
)
Loader = Iterable[Any] | Callable[[], Iterable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A trained model and the data that it is asked about.

    Attributes:
        model: left as it is, bit for bit.
        train: batches as training has them (shuffled, augmented, of training's size), or a function that returns them.
        held_out: batches of data that it was not trained on.
        domains: batches of other data by name, which it is to work on as well: another camera, another season.
        loss: `loss(output, target)`; a module or function of torch, or any callable that returns a mean.
        metric: `metric(output, target)`, a number for the batch or one for each sample.
        forward: `forward(model, batch)` returns the output, where a batch does not fit the model's own signature.
        target: `target(batch)`, where it is not the one part of a batch that the model is not given.
        weight_decay: what training used, for the question whether it regularizes too much.
        optimizer: `optimizer(parameters)` makes training's optimizer, for the same question; plain SGD without it.
    """

    model: nn.Module
    train: Loader
    held_out: Loader | None = None
    domains: Mapping[str, Loader] | None = None
    loss: Criterion | None = None
    metric: Criterion | None = None
    forward: Forward | None = None
    target: Callable[[Any], Any] | None = None
    weight_decay: float = 0.0
    optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer] | None = None


@dataclass(slots=True)
class Given(Kept):
    """A batch of a loader, with the user's own way to call the model and to judge its output."""

    forward: Forward | None = None
    criterion: Criterion | None = None
    metric: Criterion | None = None
    wanted: Any = None  # the target in any structure

    def call(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return model(*args, **kwargs) if self.forward is None else self.forward(model, args[0])

    def judged_by_user(self, out: Any) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        device = next((t.device for t in tensors_of(out)), self.device)
        target = to_device(self.wanted, device)
        return tuple(  # pyright: ignore[reportReturnType]
            None if f is None else per_sample(f, out, target, self.samples)
            for f in (self.criterion, self.metric)
        )


@dataclass(frozen=True, slots=True)
class Prepared:
    """A setup with its batches at hand. `ids` and `paths` are those of all norm layers, in the order of the modules.

    `domains` are the other data sets by name; held-out data are not among them.
    """

    setup: Setup
    model: nn.Module
    name: str
    train: list[Given]
    held_out: list[Given]
    ids: dict[nn.Module, int]
    paths: dict[nn.Module, str]
    domains: dict[str, list[Given]] = field(default_factory=dict[str, list[Given]])


OTHER_WORDS = {  # that people use, and what they are called here
    "loader": "train",
    "loaders": "train",
    "val_loader": "held_out",
    "validation": "held_out",
    "test_loader": "held_out",
    "test": "held_out",
    "criterion": "loss",
    "loss_function": "loss",
}


def setup_of(made: Any, target: str = "the setup") -> Setup:
    """A Setup from itself, from a mapping or from a dataclass with the same names.

    Raises NormscopeError when a name is unknown, or `model` or `train` is missing or no such thing.
    """
    if isinstance(made, Setup):
        return made
    if isinstance(made, Mapping):
        given = dict(made)
    elif is_dataclass(made) and not isinstance(made, type):
        given = {f.name: getattr(made, f.name) for f in fields(made)}
    else:
        raise NormscopeError(
            f"{target} gives a {type(made).__name__}, but a dict or a dataclass with `model`, `train` and `loss` was "
            "expected: `return {'model': model, 'train': loader, 'loss': loss}`."
        )
    names = [f.name for f in fields(Setup)]
    for name in given:
        if name not in names:
            meant = OTHER_WORDS.get(name, "")
            hint = f" Did you mean `{meant}`?" if meant else did_you_mean(str(name), names)
            raise NormscopeError(
                f"{target} gives `{name}`, which is not known.{hint} Known: {', '.join(names)}."
            )
    for name in ("model", "train"):
        if given.get(name) is None:
            raise NormscopeError(f"{target} gives no `{name}`. Known: {', '.join(names)}.")
    if not isinstance(given["model"], nn.Module):
        raise NormscopeError(
            f"{target} gives a {type(given['model']).__name__} as `model`, but a torch.nn.Module was expected."
        )
    return Setup(**given)


def prepared(setup: Setup, *, samples: int = SAMPLES) -> Prepared:
    """The setup with at most about `samples` samples of each loader, on the host as the loader gave them.

    Random states are afterwards as before: loaders that shuffle draw from them.
    Raises NormscopeError for a loader without batches, and for batches that do not fit the model.
    """
    model = bare(setup.model)
    norms = list(norms_in(model))
    with undrawn():
        held_out = (
            [] if setup.held_out is None else _batches(setup, setup.held_out, "held_out", samples)
        )
        train = _batches(setup, setup.train, "train", samples)
        domains = _domains(setup, samples)
    return Prepared(
        setup,
        model,
        name_of(model),
        train,
        held_out,
        {module: i for i, (_, module, _) in enumerate(norms)},
        {module: path for path, module, _ in norms},
        domains,
    )


def _domains(setup: Setup, samples: int) -> dict[str, list[Given]]:
    if setup.domains is None:
        return {}
    if not isinstance(setup.domains, Mapping):
        raise NormscopeError(
            f"`domains` is a {type(setup.domains).__name__}, but loaders by name were expected: `'domains': {{'fog': fog_loader}}`."
        )
    return {
        str(name): _batches(setup, loader, f"domains[{name!r}]", samples)
        for name, loader in setup.domains.items()
    }


def _batches(setup: Setup, loader: Loader, name: str, samples: int) -> list[Given]:
    split = feeder(setup.model, setup.forward)
    found: list[Given] = []
    seen = 0
    for batch in batches_of(loader, name):
        found.append(_given(setup, batch, split(batch), len(found)))
        seen += found[-1].samples
        if seen >= samples:
            break
    if not found:
        raise NormscopeError(f"The loader `{name}` gives no batch.")
    return found


def batches_of(loader: Loader, name: str = "train") -> Iterator[Any]:
    """The batches of a loader, or of the function that makes one. Raises NormscopeError when it gives none at all."""
    made = loader() if callable(loader) else loader
    try:
        return iter(made)
    except TypeError:
        raise NormscopeError(
            f"`{name}` is a {type(made).__name__}, but a DataLoader, a list of batches or a function that returns one was expected."
        ) from None


def _given(setup: Setup, batch: Any, fed: Fed, number: int) -> Given:
    target = setup.target(batch) if setup.target is not None else None
    if target is None and len(fed.rest) == 1:
        [target] = fed.rest
    tensors = list(tensors_of((fed.args, fed.kwargs)))
    given = Given(
        fed.args,
        fed.kwargs,
        fed.samples,
        sum(t.numel() * t.element_size() for t in tensors),
        number,
        tensors[0].device,
        target=target if isinstance(target, torch.Tensor) else None,
        forward=setup.forward,
        metric=setup.metric,
        wanted=target,
    )
    judged = setup.loss is not None or setup.metric is not None
    if judged and target is None:
        raise NormscopeError(
            "A loss or a metric was given, but not which part of a batch is its target. "
            "Say it: `'target': lambda batch: batch['label']`."
        )
    if setup.loss is not None:
        given.loss, given.loss_kwargs = known(setup.loss)
        given.direct = given.loss is not None
        if given.loss is None:
            given.criterion = setup.loss
    return given


def call_of(model: nn.Module, batch: Given) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """What the model is called with for the batch; None where the user's own forward does not call the model itself."""
    if batch.forward is None:
        return batch.args, batch.kwargs
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    handle = model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append((args, kwargs)), with_kwargs=True
    )
    try:
        with untouched(model):
            batch.call(model, batch.args, batch.kwargs)
    finally:
        handle.remove()
    return seen[0] if seen else None

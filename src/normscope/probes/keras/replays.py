# pyright: basic
"""The second probe at the end of a run: kept batches in inference mode, and once more with dropout on.

What flows, not how good it is: whether batches are independent draws, what padding and dropout do to the statistics, which channels are
stuck, and on which scale the inputs are. All of it is computed as for PyTorch (see `probes/replays.py`), from copies on the host
with channels in dimension 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import keras
import msgspec
import numpy as np
import torch
from keras.src import tree

from normscope.errors import NormscopeError
from normscope.probes import replays
from normscope.probes.dropout import Variances, shift_of
from normscope.probes.keras.activations import counting
from normscope.probes.keras.asking import respond, untouched
from normscope.probes.keras.exchanging import Call, exchanged
from normscope.probes.keras.padding import mask_of
from normscope.probes.observations import DropoutShift
from normscope.probes.padding import Padded
from normscope.probes.signals import Norms
from normscope.record.keras.backends import Backend
from normscope.record.keras.batches import Kept
from normscope.record.keras.norms import scale_of, statistics_of
from normscope.record.torch.batches import Kept as KeptTensors

PATIENCE = 3  # times the granted seconds that four batches may take
DROPOUTS = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.GaussianDropout,
    keras.layers.AlphaDropout,
)


@dataclass(frozen=True, slots=True)
class Subject:
    """A model and its batch norms by the numbers and paths of the recording."""

    model: Any
    number: int
    name: str
    norms: Mapping[int, Any]
    paths: Mapping[int, str]
    backend: Backend


@dataclass(eq=False, slots=True)
class Norm:
    """A batch norm with its values on the host, under the names that PyTorch has for them."""

    weight: torch.Tensor | None
    bias: torch.Tensor | None
    running_mean: torch.Tensor | None
    running_var: torch.Tensor | None
    eps: float


def measure(
    subject: Subject, kept: Sequence[Kept], *, seconds: float = 3.0
) -> dict[str, msgspec.Struct]:
    """Answers by evidence name, those that there are, in about `seconds`; the model is untouched afterwards.

    Raises NormscopeError with the reason when the model cannot be asked in that time or there is nothing to ask it with.
    """
    if len(kept) < 2:
        raise NormscopeError("fewer than two training batches were kept")
    began = perf_counter()
    batches = replays.chosen(kept)
    copies = [_copy(b) for b in batches]
    masks = {
        id(c): m for b, c in zip(batches, copies, strict=True) if (m := mask_of(b)) is not None
    }
    norms = {id(n): _norm(n, subject.backend) for n in subject.norms.values()}
    flow, padded = Norms(replays.middle(copies)), Padded(masks)  # pyright: ignore
    with untouched(subject.model, subject.backend):
        start = perf_counter()
        respond(subject.model, batches[-1])
        once = perf_counter() - start
        if 4 * once > PATIENCE * seconds:
            raise NormscopeError(
                f"replaying it would take about {4 * once:.2g} seconds, of which {seconds:.2g} are granted"
            )
        seen: list[int] = []
        with counting(subject.model, subject.backend) as saturations:
            for i in replays.spread_order(len(batches)):
                saturations.begin(counting=copies[i].step >= flow.since)
                with _listening(subject, norms, copies[i], [flow, padded]):
                    respond(subject.model, batches[i])
                seen.append(i)
                if perf_counter() > began + 0.5 * seconds:
                    break
        shifts = _dropout(subject, norms, [(batches[i], copies[i]) for i in sorted(seen)])
    ids = {norms[id(n)]: number for number, n in subject.norms.items()}
    paths = {norms[id(n)]: subject.paths[number] for number, n in subject.norms.items()}
    return replays.answers(
        replays.Subject(subject.number, subject.name, ids, paths),  # pyright: ignore
        [copies[i] for i in sorted(seen)],
        flow,
        padded,
        saturations,
        shifts,
    )


def _copy(batch: Kept) -> KeptTensors:
    """The batch with channels in dimension 1, where PyTorch has them; integers stay as they are."""
    tensors = [
        torch.from_numpy(np.ascontiguousarray(_second(x)))
        for x in tree.flatten((batch.args, batch.kwargs))
        if isinstance(x, np.ndarray)
    ]
    target = batch.target
    if isinstance(target, np.ndarray):
        target = target[:, 0] if target.ndim == 2 and target.shape[1] == 1 else target
        target = torch.from_numpy(np.ascontiguousarray(target))
    return KeptTensors(
        tuple(tensors), {}, batch.samples, batch.size, batch.step, torch.device("cpu"), target
    )


def _second(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    first = keras.config.image_data_format() == "channels_first" and x.ndim > 3
    return x if first or x.ndim < 3 or x.dtype.kind != "f" else np.moveaxis(x, -1, 1)


def _norm(layer: Any, backend: Backend) -> Norm:
    def value(variable: Any) -> torch.Tensor | None:
        assigned = hasattr(variable, "assign")
        return torch.from_numpy(backend.read(variable)).float() if assigned else None

    mean, var = statistics_of(layer) or (None, None)
    return Norm(
        value(scale_of(layer)), value(layer.beta), value(mean), value(var), float(layer.epsilon)
    )


@contextmanager
def _listening(
    subject: Subject, norms: Mapping[int, Norm], batch: KeptTensors, listeners: Sequence[Any]
) -> Iterator[None]:
    """Every listener is told what enters and leaves each norm, with channels in dimension 1."""

    def tell(layer: Any, x: Any, out: Any, mask: Any) -> None:
        there, gone = (_channels_second(subject.backend.host(t), layer.axis) for t in (x, out))
        if mask is not None:  # the rest is in no statistics
            real = torch.from_numpy(subject.backend.host(mask)).bool()
            there, gone = (t.movedim(1, -1)[real] for t in (there, gone))
        for listener in listeners:
            listener(batch, norms[id(layer)], there, gone)

    def watched(layer: Any, call: Call) -> Call:
        def inside(inputs: Any, *args: Any, **kwargs: Any) -> Any:
            out = call(inputs, *args, **kwargs)
            if len(inputs.shape) > 1:
                tell(layer, inputs, out, kwargs.get("mask"))
            return out

        return inside

    with exchanged(subject.norms.values(), watched):
        yield


def _channels_second(x: np.ndarray[Any, Any], axis: int) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, axis, 1)))


def _dropout(
    subject: Subject, norms: Mapping[int, Norm], batches: Sequence[tuple[Kept, KeptTensors]]
) -> tuple[DropoutShift, ...] | None:
    """One row a norm, from batches of the second half; None where the model has no dropout."""
    drops = [
        x
        for x in subject.model._flatten_layers()
        if isinstance(x, DROPOUTS) and float(getattr(x, "rate", 0.0)) > 0
    ]
    if not drops:
        return None
    since = replays.middle([c for _, c in batches])
    late = [pair for pair in batches if pair[1].step >= since] or list(batches[-1:])
    on, off = Variances(), Variances()
    for batch, copy in late:
        with exchanged(drops, _training), _listening(subject, norms, copy, [on]):
            respond(subject.model, batch)
        with _listening(subject, norms, copy, [off]):
            respond(subject.model, batch)
    return tuple(
        shift_of(number, subject.paths[number], off.moments[norm], on.moments[norm], norm.running_var)  # pyright: ignore
        for number, layer in subject.norms.items()
        if (norm := norms[id(layer)]) in off.moments and norm in on.moments and norm.running_var is not None
    )  # fmt: skip


def _training(layer: Any, call: Call) -> Call:
    """A dropout as in training, while all else is as in inference."""
    del layer

    def inside(inputs: Any, training: Any = None) -> Any:
        del training
        return call(inputs, training=True)

    return inside

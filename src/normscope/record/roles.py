"""What each model is in a run, told by what it does in the recording: who is stepped, who is copied, whose graph reaches a loss.

No name of a class, variable or file is looked at. A role is told where the recording shows it, else the plain `trained`
or `used`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from normscope.record.recording import Model, Recording

Role = Literal[
    "trained",  # an optimizer steps it
    "generator",  # trained, and its outputs train a model that sees other data too
    "discriminator",  # trained on data and on a generator's outputs
    "encoder",  # trained, and its outputs feed a model that sees nothing else
    "momentum encoder",  # follows another model little by little, and answers beside the steps
    "target network",  # is given another model's state as a whole, again and again, and answers beside the steps
    "averaged copy",  # follows another model, and only evaluates
    "teacher",  # never changes, and answers beside every step
    "frozen backbone",  # never changes, and its outputs are what a trained model reads
    "loss network",  # never changes, and gradients pass through it to a trained model
    "used",  # called, and neither trained nor any of the above
]
BESIDE = 0.5  # forwards per step from which on a model counts as running beside every step


@dataclass(frozen=True, slots=True)
class _Use:
    """How often a model ran."""

    training: int  # forwards whose graph a backward used
    beside: int  # inference forwards before the last training step


def roles(recording: Recording) -> Mapping[int, Role]:
    """The role of every model, by its number."""
    uses = {m: _use(recording, m) for m in recording.models}
    return {m: _role(recording, record, uses) for m, record in recording.models.items()}


def _use(recording: Recording, model: int) -> _Use:
    mine = [s for s in recording.spans if recording.patterns[s.pattern].model == model]
    ended = max((s.last_step for s in recording.spans if s.kind == "training"), default=0)
    beside = [s for s in mine if s.kind == "inference" and s.first_step < ended]
    return _Use(
        sum(s.forwards for s in mine if s.kind == "training"),
        sum(s.forwards for s in beside),
    )


def _role(recording: Recording, model: Model, uses: Mapping[int, _Use]) -> Role:
    use = uses[model.id]
    readers = [recording.models[k] for k in model.feeds if k in recording.models]
    makers = [m for m in recording.models.values() if model.id in m.feeds]
    beside = use.beside >= BESIDE * max(recording.steps, 1)
    if model.optimized:
        return _trained(use, readers, makers, uses)
    if model.parameters_changed:
        if not _follows(recording, model):
            return "trained"  # by hand
        if not (beside or use.training):
            return "averaged copy"
        reloaded = any(x.model == model.id and x.loaded_step for x in recording.layers.values())
        return "target network" if reloaded else "momentum encoder"
    if use.training and any(m.optimized for m in makers):
        return "loss network"
    if any(r.optimized for r in readers):
        return "frozen backbone"
    return "teacher" if beside or use.training else "used"


def _follows(recording: Recording, model: Model) -> bool:
    """Whether a model of the same class and shapes is stepped: whichever of the two was called first."""
    alike = [
        m
        for m in recording.models.values()
        if m.id != model.id and (model.copy_of == m.id or m.copy_of == model.id)
    ]
    return any(m.optimized for m in alike)


def _trained(
    use: _Use, readers: list[Model], makers: list[Model], uses: Mapping[int, _Use]
) -> Role:
    """Two halves of one network run equally often; a discriminator sees real data besides."""

    def more_often(one: _Use, other: _Use) -> bool:
        return one.training > 1.2 * other.training

    if any(m.optimized and more_often(use, uses[m.id]) for m in makers):
        return "discriminator"
    learning = [r for r in readers if r.optimized]
    if any(more_often(uses[r.id], use) for r in learning):
        return "generator"
    return "encoder" if learning else "trained"

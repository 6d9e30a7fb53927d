# pyright: basic
"""Steps: changes of trainable parameters after a training forward, whoever makes them."""

from __future__ import annotations

import functools
from sys import _getframe
from typing import TYPE_CHECKING, Any

import torch
from torch.compiler import is_dynamo_compiling
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from normscope.graph.torch import contents
from normscope.record.torch import live
from normscope.record.torch.roots import Root

if TYPE_CHECKING:
    from normscope.record.torch.observer import Observer


class Steps:
    """Counts steps. Nested optimizers count once; an optimizer that a GradScaler held back makes no step."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.trained = False  # a training forward since the last step
        # Weight decay by the id of each parameter that a stepping optimizer holds.
        self.optimized: dict[int, float] = {}
        self.names: list[str] = []
        self.by_hand: set[int] = set()  # models that the script's own lines update
        self._held: dict[int, dict[int, float]] = {}
        self._sizes: dict[int, list[int]] = {}

    def install(self) -> None:
        _hook_optimizers()

    @property
    def count(self) -> int:
        return self.observer.count

    @property
    def inside(self) -> list[int]:
        """Ids of the optimizers whose steps are running."""
        return self.observer.stepping

    @property
    def outermost(self) -> bool:
        """Whether the optimizer that steps now is not inside another's step."""
        return len(self.inside) == 1

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        if self.inside:
            # A step that raised never ended, and its optimizer may never step again.
            running = _running(type(optimizer).step)
            self.inside[:] = [i for i in self.inside if i in running and i != id(optimizer)]
        self.inside.append(id(optimizer))

    def end(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer's step is over that was not simply the one of a counted forward."""
        if self.inside and id(optimizer) in self.inside:
            del self.inside[self.inside.index(id(optimizer)) :]
        if self.inside:
            self._note(optimizer)
            return
        if self.observer.count >= self.observer.sample_at:
            self.observer.gradients.take_late(optimizer)
        if self.observer.used:
            self.counted(optimizer)
        else:
            self._note(optimizer)
            self.step(optimizer)

    def counted(self, optimizer: torch.optim.Optimizer) -> None:
        """The step of a counted forward is done, and the hook could not see to it by itself."""
        observer = self.observer
        observer.open = observer.used = False
        observer.counted += 1
        observer.count += 1
        if observer.count >= observer.look_at:
            observer.after_step.counted(optimizer)

    def step(self, optimizer: torch.optim.Optimizer | None) -> None:
        self.observer.activity += 1
        if self.observer.open:
            self.observer.routine.leave()
        if not self.trained:
            return
        self.trained = False
        self.observer.count += 1
        self.observer.after_step.step(optimizer)

    def _note(self, optimizer: torch.optim.Optimizer) -> None:
        """Know which parameters the optimizer holds; asked again when its groups change in number or size."""
        key = id(optimizer)
        sizes = [len(group["params"]) for group in optimizer.param_groups]
        if self._sizes.get(key) == sizes:
            return
        self._sizes[key] = sizes
        self._held[key] = {
            id(p): _decay(group) for group in optimizer.param_groups for p in group["params"]
        }
        self.optimized |= self._held[key]
        # What moved before by hand was moved on the way to this optimizer's step (sharpness-aware minimization).
        owned = (r for r in self.observer.registry.roots if self.owns(optimizer, r))
        self.by_hand -= {r.record.id for r in owned}
        if (name := type(optimizer).__name__) not in self.names:
            self.names.append(name)

    def owns(self, optimizer: torch.optim.Optimizer, root: Root) -> bool:
        """Whether `optimizer` steps parameters of `root`."""
        module = root.module
        held = self._held.get(id(optimizer), {})
        return module is not None and any(id(p) in held for p in contents.parameters(module))

    def watch(self, root: Root) -> None:
        """After a backward: remember a sample of a model that no optimizer is known to step."""
        module = root.module
        by_hand = root.record.id in self.by_hand
        if module is None or (root.record.optimized and not by_hand):
            return
        trainable = [p for p in contents.parameters(module) if p.requires_grad]
        chosen = [trainable[i] for i in (0, len(trainable) // 2, -1)] if trainable else []
        if not by_hand and any(id(p) in self.optimized for p in chosen):
            root.record.optimized = True
            return
        sample = [(p, p._version, p.detach().flatten()[:8].clone()) for p in chosen]
        root.watched = (self.count, sample)

    def look_for_hand_written(self, root: Root) -> None:
        """Before the next forward: a watched sample that moved without any optimizer was stepped by hand."""
        watched, root.watched = root.watched, None
        module = root.module
        if watched is None or module is None or watched[0] != self.count or not self.trained:
            return
        if self.inside:  # a closure of an optimizer that will step by itself
            return
        if any(
            p._version != v or not torch.equal(p.detach().flatten()[:8], old)
            for p, v, old in watched[1]
        ):
            self.by_hand.add(root.record.id)
            moved = {id(p): 0.0 for p in contents.parameters(module) if p.requires_grad}
            self.optimized = moved | self.optimized
            if "hand-written" not in self.names:
                self.names.append("hand-written")
            self.step(None)

    def functional(self, root: Root) -> None:
        """Other parameters were lent to the model than last time: if a backward lies between, that was a step."""
        if self.trained:
            root.record.optimized = root.record.parameters_changed = True
            if "functional" not in self.names:
                self.names.append("functional")
            self.step(None)


def _running(step: Any) -> set[int]:
    """Ids of the optimizers whose steps are on the stack: all pass through one wrapper of PyTorch's, as `step` is."""
    code, frame, found = getattr(step, "__code__", None), _getframe(1), set[int]()
    while frame is not None:
        if frame.f_code is code:
            found.add(id(frame.f_locals.get("self")))
        frame = frame.f_back
    return found


def _decay(group: dict[str, Any]) -> float:
    decay = group.get("weight_decay", 0.0)
    return float(decay) if isinstance(decay, (int, float)) else 0.0


@functools.cache
def _hook_optimizers() -> None:
    cell = live.observer

    def before(optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
        if is_dynamo_compiling() or (observer := cell[0]) is None:
            return  # a step inside a compiled function is compiled as without us
        if observer.used and observer.count < observer.sample_at:
            return  # the step of a counted forward: nothing of it needs to be known beforehand
        try:
            steps = observer.steps
            steps.begin(optimizer)
            if observer.count >= observer.sample_at and steps.outermost:
                observer.gradients.take(optimizer)
        except Exception as error:  # noqa: BLE001
            observer.fail(error)

    def after(optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
        if is_dynamo_compiling() or (observer := cell[0]) is None:
            return
        if observer.used and not observer.stepping:
            # As `Steps.counted`: without its call.
            observer.open = observer.used = False
            observer.counted += 1
            observer.count = count = observer.count + 1
            if count >= observer.look_at:
                observer.after_step.counted(optimizer)  # which is guarded
            return
        try:
            observer.steps.end(optimizer)
        except Exception as error:  # noqa: BLE001
            observer.fail(error)

    register_optimizer_step_pre_hook(before)
    register_optimizer_step_post_hook(after)

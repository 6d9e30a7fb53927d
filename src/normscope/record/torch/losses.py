# pyright: basic
"""Loss functions, scaled losses and class decisions, as the wrappers report them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from normscope.record.guard import guarded
from normscope.record.timeline import Forward
from normscope.record.torch import targets
from normscope.record.torch.roles import PLAIN

if TYPE_CHECKING:
    from normscope.record.torch.observer import Observer


class Losses:
    """Entry points of loss functions, of what chooses a class, and of loss scaling."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.awaiting: Forward | None = None  # its input is kept, its target not seen yet

    @guarded
    def loss(
        self, name: str, x: Any, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if type(x) not in PLAIN:
            return
        observer = self.observer
        if observer.inside:  # the model computes its own loss
            if observer.calls.current is not None and not torch.is_grad_enabled():
                observer.calls.current.scored = True
            return
        if not torch.is_grad_enabled():
            targets.note_score(x, observer.registry.roots, observer.moment)
        forward, self.awaiting = self.awaiting, None
        if forward is not None and forward.kept is not None and x.requires_grad:
            targets.note_target(forward, name, x, target, args, kwargs)

    @guarded
    def decision(self, x: Any) -> None:
        """A class is chosen from a tensor: the output of an inference forward is being scored."""
        observer = self.observer
        if type(x) in PLAIN and not observer.backwards.running:
            targets.note_score(x, observer.registry.roots, observer.moment)

    @guarded
    def threshold(self, x: Any, other: Any) -> None:
        """A tensor is compared with one number, which decides about each of its entries."""
        observer = self.observer
        single = isinstance(other, (int, float)) or (type(other) in PLAIN and other.numel() == 1)
        if type(x) in PLAIN and single and not observer.backwards.running:
            positive = isinstance(other, (int, float)) and other > 0
            targets.note_score(
                x, observer.registry.roots, observer.moment, threshold=True, positive=positive
            )

    @guarded
    def scaled(self, loss: Any, scaled: Any) -> None:
        self.observer.scalars.on_scaled(loss, scaled)

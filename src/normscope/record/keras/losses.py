# pyright: basic
"""Losses and metrics of Keras: which model's output they read, and against which target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras.src import tree

from normscope.record.guard import guarded
from normscope.record.keras.tracing import Target, Traced, place_of
from normscope.record.timeline import Forward

if TYPE_CHECKING:
    from normscope.record.keras.observer import Observer


class Losses:
    """Entry points of losses, metrics and class decisions."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    @guarded
    def loss(self, loss: Any, y_true: Any, y_pred: Any, weighted: bool, result: Any) -> None:
        """A loss was computed."""
        observer = self.observer
        found = self._maker(y_pred)
        if found is None:
            return
        forward, output = found
        traced = observer.loops.traced(forward)
        if traced is not None:
            self._traced(traced, loss, y_true, output, weighted, result)
            return
        if forward.kept is not None and not weighted and forward.kept.loss is None:
            observer.kept.note_target(forward.kept, loss, y_true, output)
        if forward in forward.root.pending:
            forward.scored = not forward.used  # should no backward pass come, it was an evaluation
            observer.steps.loss = result.detach() if hasattr(result, "detach") else result
        else:
            self._scored(forward)

    def _traced(
        self, traced: Traced, loss: Any, y_true: Any, output: int, weighted: bool, result: Any
    ) -> None:
        """A loss was traced: which of the step's inputs is its target."""
        place = place_of(traced.trace, y_true)
        if place is not None and not weighted and traced.target is None:
            traced.target = Target(loss, place, output)
        traced.loss = result
        if not traced.taped:
            traced.forward.scored = True

    @guarded
    def decision(self, y_pred: Any) -> None:
        """A metric read an output, or a class was chosen from it."""
        found = self._maker(y_pred)
        forward = found[0] if found is not None else self._made_of(y_pred)
        if forward is not None:
            self._scored(forward)

    def _maker(self, value: Any) -> tuple[Forward, int] | None:
        """The forward whose output this is, and which of its outputs."""
        leaves = tree.flatten(value)
        for root in self.observer.registry.roots:
            for i, (forward, ref) in enumerate(root.last_outputs):
                if (tensor := ref()) is not None and any(x is tensor for x in leaves):
                    return forward, i
        return None

    def _made_of(self, value: Any) -> Forward | None:
        """The inference forward that a tensor was made of: of its output's shape for each sample, met before anything is trained again."""
        shape = tuple(getattr(value, "shape", ()))
        for root in self.observer.registry.roots:
            for (forward, _), made in zip(root.last_outputs, root.last_shapes, strict=True):
                fresh = not forward.used and forward.activity == self.observer.activity
                if fresh and len(shape) > 1 and shape[1:] == made[1:]:
                    return forward
        return None

    def _scored(self, forward: Forward) -> None:
        if forward.scored or forward.used:
            return
        forward.scored = True
        if forward.span is not None and forward.span.kind == "inference":
            forward.span.scored += 1

# pyright: basic
"""`fit`, `evaluate` and `predict`: which of them runs, and what their compiled steps hide.

A compiled step runs Python once, when it is traced. What the model did then is what each later step does; the loop's
own signals, which the trainers send for callbacks, tell how often.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import keras
from keras.src import tree

from normscope.graph.model import Site
from normscope.record.guard import guarded
from normscope.record.keras.lines import user_site
from normscope.record.keras.sources import OneBatch, Sources
from normscope.record.keras.tracing import Traced, again
from normscope.record.timeline import Forward

if TYPE_CHECKING:
    from normscope.record.keras.observer import Observer

PHASES = ("train", "test", "predict")
FUNCTION = "function"  # a compiled function of the script's own


@dataclass(slots=True)
class Applied:
    """An optimizer's update inside a trace, and the number of its updates before."""

    optimizer: Any
    variables: list[Any]
    before: int


@dataclass(slots=True)
class Loop:
    """One `fit`, `evaluate` or `predict` that is running."""

    phase: str
    model: Any
    site: Site | None = None  # the script's line
    iterator: Any = None
    ran: bool = False  # a model ran eagerly in the current batch
    in_batch: bool = False
    templates: list[Traced] = field(default_factory=list[Traced])
    applied: list[Applied] = field(default_factory=list[Applied])
    size: int = 0  # of its batches, where the data source does not tell


def _samples_of(x: Any) -> int:
    shape: Any = getattr(next(iter(tree.flatten(x)), None), "shape", None)
    return int(shape[0]) if shape else 0


def steps_of_its_own(model: Any) -> bool:
    """Whether the model is trained as Keras does it: it gets the first part of a batch as it is."""
    return type(model).train_step is keras.Model.train_step


class Loops:
    """Entry points of the signals that the trainers send."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.stack: list[Loop] = []
        # By model and phase, what was traced: forwards of one batch, newest for each batch size.
        self._outdated: set[tuple[int, bool]] = (
            set()
        )  # what was told of layers that compiled steps treat as they were
        self._traced: dict[tuple[int, str], dict[int, list[Traced]]] = {}
        self.sources = Sources(observer)

    @property
    def readable(self) -> bool:
        """Whether the variables hold values: JAX takes them away while a loop runs, and for good where an error ends it."""
        return all(getattr(x.model, "_jax_state_synced", True) for x in self.stack)

    def _train(self) -> Loop | None:
        return next((x for x in self.stack if x.phase == "train"), None)

    def state_of(self, variable: Any) -> Any:
        """Where JAX holds the value of a variable while `fit` runs; None when the variable holds it itself."""
        loop = self._train()
        if loop is None or getattr(loop.model, "_jax_state_synced", True):
            return None
        model, state = loop.model, getattr(loop.model, "_jax_state", None)
        if not state:
            return None
        for kind in ("trainable_variables", "non_trainable_variables"):
            for own, value in zip(getattr(model, kind), state.get(kind) or (), strict=False):
                if own is variable:
                    return value
        return None

    def compiles(self, layer: Any) -> bool:
        """Whether a traced call of `layer` belongs to a compiled step of a running loop."""
        if self.stack and self.stack[-1].in_batch:
            return True
        observer = self.observer
        root = observer.registry.traced_root_of(layer)
        if root is not None and not root.compiled_told and not self.stack and root.layers:
            root.compiled_told = root.record.compiled = True
            observer.event(
                "compiled",
                model=root.record.id,
                detail=f"{root.record.name} runs in a compiled function of the script: its calls and steps are not seen",
            )
        return False

    @property
    def answering(self) -> bool:
        """Whether `predict` runs: its outputs are what the script asked for."""
        return bool(self.stack) and self.stack[-1].phase == "predict"

    def ran(self) -> None:
        if self.stack:
            self.stack[-1].ran = True

    def learn(self, traced: Traced) -> None:
        """A forward was traced for the steps of the running loop.

        A step may be traced more than once, as TensorFlow does when the first trace makes variables: the newest counts.
        """
        if not self.stack:
            return
        loop = self.stack[-1]
        loop.templates = [
            x for x in loop.templates if x.trace is traced.trace or x.signature != traced.signature
        ]
        loop.templates.append(traced)

    def traced(self, forward: Forward) -> Traced | None:
        """What the running loop learned this forward as."""
        templates = self.stack[-1].templates if self.stack else ()
        return next((x for x in templates if x.forward is forward), None)

    def applies(self, optimizer: Any, variables: list[Any]) -> None:
        """An optimizer's update was traced."""
        if self.stack and self.stack[-1].phase == FUNCTION:
            before = int(self.observer.read(optimizer._iterations))
            self.stack[-1].applied.append(Applied(optimizer, variables, before))

    @guarded
    def iterates(self, iterator: Any) -> None:
        if self.stack:
            self.stack[-1].iterator = iterator
        self.sources.begins(iterator)

    @guarded
    def sees(self, batch: Any) -> None:
        """A compiled step of `fit` is about to get this batch."""
        loop, observer = self._train(), self.observer
        if loop is None or self.stack[-1] is not loop or not isinstance(batch, (tuple, list)):
            return
        root = observer.registry.traced_root_of(loop.model)
        if root is None or not root.layers or not batch:
            return
        loop.size = _samples_of(batch[0])
        if not steps_of_its_own(loop.model):  # else nobody knows what of the batch the model gets
            return
        step = observer.steps.count
        kept = observer.kept
        if kept.due(root, step) and (kept.lacks(root) or observer.schedule.affords(1e-4)):
            began = perf_counter()
            copied = kept.copy(root, (batch[0],), {}, step)
            if copied is not None:
                if len(batch) == 2 and batch[1] is not None:
                    kept.note_target(copied, loop.model._compile_loss, batch[1], 0)
                kept.keep(root, copied, 1)
            observer.schedule.charge(perf_counter() - began, measuring=True)

    @guarded
    def begins(self, phase: str, model: Any) -> None:
        if model is None:
            return
        # A loop that an exception ended sent no signal of its end.
        self.stack = [x for x in self.stack if x.model is model and x.phase != phase]
        self.stack.append(Loop(phase, model, user_site(3)))
        if self.observer.backend.name != "torch" and not model.run_eagerly:
            self._first(model)

    def _first(self, model: Any) -> None:
        """What a compiled step will change is read before the first one: while it is traced, nothing can be read."""
        observer = self.observer
        root = observer.registry.root_of(model)
        if root is not None:
            if root not in observer.registry.roots:
                observer.registry.keep(root)
            root.record.site = root.record.site or self.stack[-1].site
            if root.layers and not observer.polling.started:
                observer.books.poll()

    @guarded
    def ends(self, phase: str) -> None:
        while self.stack and self.stack.pop().phase != phase:
            pass
        if not self.stack:
            self.observer.books.refresh()
            self.observer.books.flush_when_due()

    @guarded
    def one_batch_begins(self, phase: str, model: Any, data: tuple[Any, ...]) -> None:
        """`train_on_batch` or one of its siblings, with inputs and, where it has them, targets."""
        self.begins(phase, model)
        source = OneBatch(_samples_of(data[0]), data)
        self.stack[-1].iterator = SimpleNamespace(data_adapter=source)
        self.batch_begins(phase)

    @guarded
    def one_batch_ends(self, phase: str) -> None:
        self.batch_ends(phase, 0, None)
        self.stack.clear()

    @guarded
    def batch_begins(self, phase: str) -> None:
        if self.stack and self.stack[-1].phase == phase:
            loop = self.stack[-1]
            loop.ran, loop.in_batch, loop.templates = False, True, []

    @guarded
    def batch_ends(self, phase: str, last: int, logs: Any) -> None:
        """The steps up to number `last` of this epoch are done."""
        if not self.stack or self.stack[-1].phase != phase:
            return
        began = perf_counter()
        loop = self.stack[-1]
        loop.in_batch = False
        if not loop.ran:
            self._compiled(loop, last, logs)
            self.observer.charge(perf_counter() - began)

    def _compiled(self, loop: Loop, last: int, logs: Any) -> None:
        observer = self.observer
        known = self._traced.setdefault((id(loop.model), loop.phase), {})
        samples = self.sources.samples(loop, last)
        if loop.templates:
            seen = next((c[3] for t in loop.templates for c in t.forward.calls), 0)
            known[seen or 0] = loop.templates
            for traced in loop.templates:
                traced.trace = traced.loss = None  # a trace may hold much memory
        templates = known.get(samples) or known.get(0) or next(iter(known.values()), None)
        if not templates:
            return
        self._tell(loop)
        observer.schedule.begin()
        times = max(1, int(getattr(loop.model, "steps_per_execution", 1) or 1))
        training = loop.phase == "train"
        roots = [t.forward.root for t in templates]
        own = training and steps_of_its_own(loop.model)
        for template in templates:
            # Keras' own step takes a gradient through its one forward, whether `call` hears of training or not.
            used = template.used(stepped=training) or (own and template.taped is None)
            for i in range(times):
                step = observer.steps.count + (i if used else 0)
                self.repeat(template, samples, step, loop.site, used=used, scored=not used)
        if training:
            self._compare(loop, templates)
            self.sources.keep(loop, last, templates)
            observer.steps.trained = True
            optimizer = loop.model.optimizer
            if optimizer is not None:
                observer.steps.note(optimizer, list(loop.model.trainable_variables))
            loss = logs.get("loss") if isinstance(logs, dict) else None
            observer.steps.loss = loss
            observer.steps.step(roots, optimizer, times)

    def _compare(self, loop: Loop, templates: list[Traced]) -> None:
        """Tell of norms that the step trains as `trainable` was when it was compiled, and no longer is."""
        if loop.templates:
            return  # traced just now
        for template in templates:
            by_id = {x.record.id: x for x in template.forward.root.layers}
            for call in template.forward.calls:
                layer = by_id[call[0]].layer if call[0] in by_id else None
                if layer is None or call[7] is None or call[7] == bool(layer.trainable):
                    continue
                if (call[0], call[7]) not in self._outdated:
                    self._outdated.add((call[0], call[7]))
                    was = "trained" if call[7] else "frozen"
                    self.observer.event("not-compiled", layer=call[0], detail=was, site=loop.site)

    def repeat(
        self,
        template: Traced,
        samples: int,
        step: int,
        site: Site | None,
        *,
        used: bool,
        scored: bool,
    ) -> Forward:
        """A traced forward ran again: commit it."""
        observer = self.observer
        forward = again(template, samples, step, observer.activity)
        forward.site = site or forward.site
        forward.used, forward.scored = used, scored
        by_id = {x.record.id: x for x in forward.root.layers}
        for call in forward.calls:
            if call[2] and (layer := by_id.get(call[0])) is not None:
                layer.alpha = call[5]
                layer.record.updates += 1
        observer.timeline.commit(forward, "training" if used else "inference")
        return forward

    def _tell(self, loop: Loop) -> None:
        for root in self.observer.registry.roots:
            if root.model is loop.model and not root.compiled_told:
                root.compiled_told = True
                self.observer.event(
                    "compiled-loop",
                    model=root.record.id,
                    detail=f"the steps of {root.record.name} are compiled ({self.observer.backend.name}): what they do was "
                    "seen when they were traced, and moving statistics are read between batches",
                )

# pyright: basic
"""Steps: changes of trainable variables after a training forward, whoever makes them."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from keras.src import backend as keras_backend

from normscope.record.guard import guarded
from normscope.record.keras.registry import Root

if TYPE_CHECKING:
    from normscope.record.keras.observer import Observer

MOST_SCALARS = 4096


class Steps:
    """Counts steps; an optimizer inside another one counts once, and one that gathers gradients when it applies them."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.count = 0
        self.trained = False  # a training forward since the last step
        self.optimized: dict[int, float] = {}  # weight decay by the id of each optimized variable
        self.names: list[str] = []
        self.loss: Any = None  # the latest, unread
        self._held: dict[int, int] = {}
        self._stepped: dict[tuple[int, int, int], list[Root]] = {}
        self._facts_at = 1  # at powers of two: facts change early, if at all
        self._stride = 1
        self._read: list[int] = []
        self._by_hand: set[int] = (
            set()
        )  # models that something else than an optimizer of Keras steps
        self._sample: tuple[Root, list[tuple[Any, Any]], int] | None = None

    @guarded
    def applied(self, optimizer: Any, variables: Any) -> None:
        """A Keras optimizer applied gradients."""
        observer = self.observer
        if keras_backend.in_stateless_scope():
            return
        if self._is_traced(optimizer):
            if observer.backend.reads_while_tracing:
                held = variables if variables is not None else optimizer._trainable_variables
                observer.loops.applies(optimizer, list(held))
            return
        every = getattr(optimizer, "gradient_accumulation_steps", None)
        if every and int(observer.backend.read(optimizer._iterations)) % every:
            observer.activity += 1
            return
        began = perf_counter()
        held = list(variables if variables is not None else optimizer._trainable_variables)
        self.note(optimizer, held)
        roots = self._roots(optimizer, held)
        if observer.backend.name == "tensorflow":
            # Eager TensorFlow does not tell which outputs a tape was asked for: what it taped of the stepped models counts.
            for root in roots:
                for forward in root.pending:
                    observer.forwards.used(forward)
        self.step(roots, optimizer)
        observer.charge(perf_counter() - began)

    def _roots(self, optimizer: Any, held: list[Any]) -> list[Root]:
        """The models that the optimizer steps; asked again when it holds more or fewer variables, or there are more models."""
        registry = self.observer.registry
        key = (id(optimizer), len(held), len(registry.roots))
        if (found := self._stepped.get(key)) is None:
            found = self._stepped[key] = registry.root_with({id(v) for v in held})
        return found

    def _is_traced(self, optimizer: Any) -> bool:
        if self.observer.backend.name == "torch":
            return False  # what is compiled is not observed there
        return bool(optimizer.built and self.observer.backend.traced(optimizer._iterations.value))

    def note(self, optimizer: Any, variables: list[Any]) -> None:
        """Know which variables the optimizer holds; asked again when their number changes."""
        if self._held.get(id(optimizer)) == len(variables):
            return
        self._held[id(optimizer)] = len(variables)
        decay = float(getattr(optimizer, "weight_decay", None) or 0.0)
        for v in variables:
            decays = decay and optimizer._use_weight_decay(v)
            self.optimized[id(v)] = decay if decays else 0.0
        if (name := type(optimizer).__name__) not in self.names:
            self.names.append(name)

    def step(self, roots: list[Root], optimizer: Any, steps: int = 1) -> None:
        """Trainable variables changed, `steps` times."""
        observer = self.observer
        observer.activity += 1
        self._sample = None
        if not self.trained:
            return
        self.trained = False
        self.count += steps
        for root in observer.registry.roots:
            if root.pending:
                observer.timeline.resolve(root, steps=self.count, own_step=root in roots)
        if self.count >= self._facts_at:
            self._facts_at = 1 << self.count.bit_length()
            observer.books.refresh()
        observer.books.measure(lambda: self._measure(optimizer))
        observer.books.flush_when_due()
        if observer.limit is not None and self.count >= observer.limit:
            observer.told_to_stop(self.count)
            observer.stop()

    def _measure(self, optimizer: Any) -> None:
        observer = self.observer
        polled = observer.polling.due(self.count)
        if polled:
            observer.books.poll()
        due = self.loss is not None and self.count % self._stride == 0
        if due and (polled or observer.schedule.affords(1e-5)):
            self._take(optimizer)

    def _take(self, optimizer: Any) -> None:
        """Keep the latest loss. Reading it waits for the device."""
        loss = self.loss if isinstance(self.loss, float) else self.observer.backend.host(self.loss)
        self.loss = None
        rate = getattr(optimizer, "learning_rate", None)
        if hasattr(rate, "assign"):
            rate = self.observer.backend.read(rate) if self.observer.loops.readable else None
        rate = float(rate) if isinstance(rate, (int, float, np.ndarray, np.number)) else np.nan
        if np.size(loss) != 1:
            return
        self.observer.store.put_scalar(self.count, float(loss), rate)
        self._read.append(self.count)
        if len(self._read) >= MOST_SCALARS:
            self._stride *= 2
            self.observer.store.drop_scalars([s for s in self._read if s % self._stride])
            self._read = [s for s in self._read if s % self._stride == 0]

    def watch(self, root: Root) -> None:
        """After a backward pass: remember a sample of a model that no optimizer is known to step."""
        model = root.model
        by_hand = root.record.id in self._by_hand
        if model is None or self._sample is not None or (root.record.optimized and not by_hand):
            return
        variables = list(model.trainable_variables)
        if not variables or not (by_hand or all(id(v) not in self.optimized for v in variables)):
            return
        chosen = [variables[i] for i in sorted({0, len(variables) // 2, len(variables) - 1})]
        read = self.observer.backend.read
        self._sample = (root, [(v, read(v).reshape(-1)[:8]) for v in chosen], self.count)

    def look_back(self) -> None:
        """Before the next forward: a sample that moved without an optimizer of Keras was stepped by hand, or by another's."""
        sample, self._sample = self._sample, None
        if sample is None or not self.trained:
            return
        root, watched, count = sample
        read = self.observer.backend.read
        if count == self.count and any(
            not np.array_equal(read(v).reshape(-1)[:8], old) for v, old in watched
        ):
            self._by_hand.add(root.record.id)
            for v in root.model.trainable_variables:
                self.optimized.setdefault(id(v), 0.0)
            if "hand-written" not in self.names:
                self.names.append("hand-written")
            self.step([root], None)
        else:
            self._sample = sample

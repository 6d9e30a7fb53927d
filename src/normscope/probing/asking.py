# pyright: basic
"""One examination: a setup, the probes asked of it, and a recording that holds each answer as soon as it is there."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from normscope.checking.torch import static_recording
from normscope.errors import NormscopeError
from normscope.probes.setup import SAMPLES, Prepared, Setup, call_of, prepared
from normscope.probing.questions import Answers, Progress, Question
from normscope.record.recording import PROBED, Channels, Event, Recording
from normscope.record.store import Store


class Examination:
    """Ask probes one by one; `recording` holds what is known so far, and so does the file `record` if one is given.

    The model is the same after each probe, bit for bit, however it ends.
    """

    def __init__(
        self,
        setup: Setup,
        *,
        target: str = "",
        record: Path | str | None = None,
        samples: int = SAMPLES,
    ) -> None:
        self.prepared = prepared(setup, samples=samples)
        self.recording = _looked_at(self.prepared, target or self.prepared.name)
        self.store = kept_in(record, self.recording)

    def answers(self, question: Question, seconds: float, progress: Progress) -> Answers:
        """Raises NormscopeError, or whatever the user's code raises, where there is none."""
        return question.ask(self.prepared, seconds, progress)

    def __enter__(self) -> Examination:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.store is not None:
            self.store.close()

    def ask(self, question: Question, seconds: float, progress: Progress = lambda _: None) -> bool:
        """Whether there is an answer; the reason why not becomes an event. An interrupt leaves earlier answers as they are."""
        began = time.perf_counter()
        try:
            answers = self.answers(question, seconds, progress)
        except NormscopeError as reason:
            self._missed(question, str(reason))
            return False
        except Exception as error:  # noqa: BLE001, the user's model and loss run inside: whatever they raise is told
            told = " ".join(str(error).split()) or "no message"
            self._missed(question, f"asking it raised {type(error).__name__}: {told}")
            return False
        for name, answer in answers.items():
            self.recording.measurements.setdefault(name, []).append(answer)
            if self.store is not None:
                self.store.put_measurement(name, answer)
        for layer, moments in getattr(answers, "population", {}).items():
            self._recomputed(layer, *moments)
        self.recording.cost.probing += time.perf_counter() - began
        if self.store is not None:
            self.store.put_meta("cost", self.recording.cost)
            self.store.flush()
        return True

    def _missed(self, question: Question, reason: str) -> None:
        event = Event(kind="not-probed", model=0, detail=f"{question.name}: {reason}")
        self.recording.events.append(event)
        if self.store is not None:
            self.store.put("event", len(self.recording.events) - 1, event)
            self.store.flush()

    def _recomputed(self, layer: int, mean: Any, var: Any) -> None:
        """Keep recomputed statistics beside the stored ones, where they are numbers."""
        kept = self.recording.channels.get(layer)
        rows = [torch.as_tensor(t).double().cpu().numpy().reshape(-1) for t in (mean, var)]
        if kept is None or not np.isfinite(rows).all():
            return
        kept.population_mean, kept.population_var = rows
        if self.store is not None:
            self.store.put_channels(layer, _table(kept))


def _looked_at(asked: Prepared, target: str) -> Recording:
    """What is known of the model before any probe, with the graph of its first training batch where there is one."""
    call = call_of(asked.model, asked.train[0])
    recording: Recording | None = None
    if call is not None:
        try:
            recording = static_recording(asked.model, call[0], target=target, kwargs=call[1])
        except NormscopeError as error:
            refused = Event(kind="not-captured", model=0, detail=str(error))
            recording = static_recording(asked.model, None, target=target)
            recording.events.append(refused)
    if recording is None:
        recording = static_recording(asked.model, None, target=target)
    recording.status = PROBED
    recording.started = time.time()
    return recording


def kept_in(file: Path | str | None, recording: Recording) -> Store | None:
    """A store in which everything is that is known before the first probe; None without a file."""
    if file is None:
        return None
    store = Store.create(file)
    _keep(store, recording)
    return store


def _keep(store: Store, recording: Recording) -> None:
    """Everything that is known before the first probe."""
    store.put_meta("target", recording.target)
    store.put_meta("framework", recording.framework)
    store.put_meta("framework_version", str(recording.framework_version))
    store.put_meta("started", recording.started)
    store.put_meta("status", recording.status)
    for kind, things in (("model", recording.models), ("layer", recording.layers)):
        for number, thing in things.items():
            store.put(kind, number, thing)
    for i, graph in enumerate(recording.graphs):
        store.put_graph(graph, i)
    for number, event in enumerate(recording.events):
        store.put("event", number, event)
    for layer, channels in recording.channels.items():
        store.put_channels(layer, _table(channels))
    store.flush()


def _table(channels: Channels) -> Any:
    rows = (
        channels.running_mean,
        channels.running_var,
        channels.population_mean,
        channels.population_var,
    )
    return np.stack([r for r in rows if r is not None])

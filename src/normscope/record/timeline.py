# pyright: basic
"""Outermost forwards: what each one did, whether a backward used it, and the timeline they make."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from normscope.graph.model import Site
from normscope.record.recording import Call, ForwardKind, Model, Pattern, Span
from normscope.record.store import Store

MOST_SPANS = 4096
MOST_PATTERNS = 1024
PATIENCE = 3  # steps of others after which an unused forward is taken for inference


class Root(Protocol):
    """A model as an observer follows it: what its timeline needs of it."""

    record: Model
    pending: deque[Any]
    open_spans: dict[tuple[str, Any], int]
    last_block: Any


class Norm(Protocol):
    """A norm layer as an observer holds it."""

    last_forward: Any


class Forward:
    """One outermost call. `calls` are tuples in the order of `Call`'s fields."""

    __slots__ = (
        "activity",
        "calls",
        "ended",
        "feeding",
        "kept",
        "producers",
        "root",
        "same_input",
        "scored",
        "site",
        "span",
        "step",
        "training",
        "used",
    )

    def __init__(
        self, root: Any, training: bool, step: int, activity: int, site: Site | None
    ) -> None:
        self.root = root
        self.training = training
        self.step = step
        self.activity = activity
        self.site = site
        self.calls: list[tuple[Any, ...]] = []
        self.used = False
        self.ended = False
        self.same_input = False
        self.scored = False
        self.feeding = False
        self.kept: Any = None
        self.producers: list[Forward] = []
        self.span: Span | None = None

    def add(self, layer: Norm, call: tuple[Any, ...]) -> None:
        self.calls.append(call)
        layer.last_forward = self


class Timeline:
    """Commits forwards to spans, each model's in the order in which they ran."""

    def __init__(self, store: Store, first: int = 0) -> None:
        self.store = store
        self.first = (
            first  # number of the first span and pattern: observers of one run share a file
        )
        self.spans: list[Span] = []
        self.patterns: dict[tuple[Any, ...], Pattern] = {}
        self._merged: dict[tuple[int, ForwardKind], int] = {}

    def resolve(
        self, root: Root, *, steps: int, own_step: bool = False, finished: bool = False
    ) -> None:
        """Commit what is certain: used forwards are training; unused ones are inference once their model was
        stepped after them, others were several times, or the run is over."""
        while root.pending:
            forward: Forward = root.pending[0]
            if forward.used:
                kind: ForwardKind = "training"
            elif (
                finished or forward.step + PATIENCE <= steps or (own_step and forward.step < steps)
            ):
                kind = "inference"
            else:
                return
            root.pending.popleft()
            self.commit(forward, kind)

    def commit(self, forward: Forward, kind: ForwardKind) -> None:
        root = forward.root
        pattern = self._pattern(forward)
        batch_stats = any(c[1] for c in forward.calls)
        block = (kind, forward.activity, batch_stats)
        before = root.last_block
        joined = before is not None and before[1][:2] == ("training", forward.activity)
        new_block = kind == "training" or root.last_block is None or root.last_block[1] != block
        if new_block:
            self._end_block(root, kind, batch_stats)
        index, span = self._span(root, pattern, kind, forward)
        span.forwards += 1
        span.blocks += new_block
        span.steps += span.forwards == 1 or forward.step != span.last_step
        span.after_end = span.after_end + 1 if forward.step == span.last_step else 1
        span.last_step = max(span.last_step, forward.step)
        span.same_input += forward.same_input
        span.joined += joined and kind == "training"
        span.scored += forward.scored
        span.feeding += forward.feeding
        forward.span = span
        root.last_block = (span, block)
        for producer in forward.producers:
            if kind == "training":
                record = producer.root.record
                record.feeds = tuple(sorted({*record.feeds, root.record.id}))
            elif producer.span is None:
                producer.feeding = True
            else:
                producer.span.feeding += 1
        self.store.put("span", self.first + index, span)

    def finish(self, roots: Sequence[Root], steps: int) -> None:
        """Commit the rest, and say of each model's last block that nothing came after it."""
        for root in roots:
            self.resolve(root, steps=steps, finished=True)
            if root.last_block is not None:
                followed = root.last_block[0].followed_by
                followed["end"] = followed.get("end", 0) + 1
        for i, span in enumerate(self.spans):
            if span.last_step != steps or span.kind == "training":
                span.after_end = 0
            self.store.put("span", self.first + i, span)

    def repeat(self, forward: Forward, times: int, *, activity: int) -> None:
        """Training forwards like `forward`, the first of them at its step, ran so many times, each followed by a step."""
        root = forward.root
        if root.last_block is not None and root.last_block[1][0] != "training":
            self._end_block(root, "training", batch_stats=True)
        index, span = self._span(root, self._pattern(forward), "training", forward)
        span.forwards += times
        span.blocks += times
        span.steps += times
        span.same_input += times * forward.same_input
        span.last_step = max(span.last_step, forward.step + times - 1)
        span.after_end = 1
        batch_stats = any(c[1] for c in forward.calls)
        root.last_block = (span, ("training", activity, batch_stats))
        self.store.put("span", self.first + index, span)

    def _end_block(self, root: Root, kind: ForwardKind, batch_stats: bool) -> None:
        if root.last_block is None:
            return
        span, (old_kind, _, old_batch_stats) = root.last_block
        if old_kind == "training" and kind == "training":
            return
        if kind == "training":
            what = "training"
        else:
            what = "evaluation" if old_batch_stats and not batch_stats else "inference"
        span.followed_by[what] = span.followed_by.get(what, 0) + 1

    def _span(
        self, root: Root, pattern: Pattern, kind: ForwardKind, forward: Forward
    ) -> tuple[int, Span]:
        # By site: passes that take turns, as in sharpness-aware training, have a span each.
        opened = root.open_spans.get((kind, forward.site))
        if opened is not None and self.spans[opened].pattern == pattern.id:
            return opened, self.spans[opened]
        if len(self.spans) >= MOST_SPANS and (pattern.id, kind) in self._merged:
            index = self._merged[pattern.id, kind]
        else:
            index = len(self.spans)
            self.spans.append(
                Span(
                    pattern=pattern.id,
                    kind=kind,
                    first_step=forward.step,
                    last_step=forward.step,
                    forwards=0,
                    blocks=0,
                    steps=0,
                )
            )
            self._merged[pattern.id, kind] = index
        root.open_spans[kind, forward.site] = index
        return index, self.spans[index]

    def _pattern(self, forward: Forward) -> Pattern:
        calls = tuple(forward.calls)
        if len(self.patterns) >= MOST_PATTERNS:
            # Sizes that keep changing would fill the file: from here on they are kept as powers of two.
            calls = tuple(
                (*c[:3], 1 << c[3].bit_length() - 1, 1 << c[4].bit_length() - 1, *c[5:])
                for c in calls
            )
        key = (forward.root.record.id, forward.training, calls, forward.site)
        pattern = self.patterns.get(key)
        if pattern is None:
            pattern = Pattern(
                self.first + len(self.patterns),
                forward.root.record.id,
                forward.training,
                tuple(Call(*c) for c in calls),
                forward.site,
            )
            self.patterns[key] = pattern
            self.store.put("pattern", pattern.id, pattern)
        return pattern

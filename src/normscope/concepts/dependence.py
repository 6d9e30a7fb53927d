"""Inference that depends on batch mates: where a run shows it, and how much it matters."""

from __future__ import annotations

from normscope.finding import Confidence, Severity
from normscope.record.recording import Model, Pattern, Recording, Span

COUPLED = 0.01  # standard deviations of the output; rounding is four orders of magnitude below
Use = tuple[Span, Pattern, tuple[int, ...]]  # forwards, what they did, the layers in question


def uses_of(recording: Recording, model: Model) -> list[Use]:
    """Forwards of `model` in evaluation mode that used the batch's statistics and did not merely recompute the stored ones."""
    uses = [u for s in recording.spans if (u := _use(recording, model, s))]
    # Sizes that differ within one block make several spans: the first counts it, the last tells what followed.
    blocks = sum(s.blocks for s, _, _ in uses)
    excused = sum(_excused(s) for s, _, _ in uses)
    if excused >= max(blocks, 1):
        return []
    return [u for u in uses if not 0 < u[0].blocks <= _excused(u[0])]


def _excused(span: Span) -> int:
    """Blocks that an ordinary evaluation followed: they recomputed the statistics."""
    return span.followed_by.get("evaluation", 0)


def _use(recording: Recording, model: Model, span: Span) -> Use | None:
    """The layers that used the batch's statistics in the forwards of `span`, a judged one of `model` in evaluation mode."""
    pattern = recording.patterns[span.pattern]
    if pattern.model != model.id or span.kind != "inference" or pattern.training:
        return None
    used = tuple(
        c.layer
        for c in pattern.calls
        if c.batch_stats
        and recording.layers[c.layer].kind == "batch"
        # Alone in its batch, a sample has no mates; but a network that met it among others never saw it so.
        and (c.samples > 1 or _trained_in_company(recording, c.layer))
    )
    recomputes = all(
        c.updates and (c.momentum is None) > (recording.layers[c.layer].momentum is None)
        for c in pattern.calls
        if c.layer in used
    )
    # A model is built, traced and probed before its first step: that is no evaluation of a trained model.
    early = bool(recording.steps) and span.last_step < 1
    return (span, pattern, used) if used and not (recomputes or early) else None


def _trained_in_company(recording: Recording, layer: int) -> bool:
    return any(c.samples > 1 for _, _, c in recording.calls(layer, "training"))


def weight(model: Model, uses: list[Use], coupling: float | None) -> tuple[Severity, Confidence]:
    """How much it matters: by what the probe measured, else by whether anything was scored."""
    if coupling is not None and coupling <= COUPLED:
        return "info", "medium"
    if (
        model.feeds
    ):  # a generator whose samples are drawn in batches: odd, but nothing is scored by it
        return "info", "medium"
    if coupling is not None:
        return "error", "high"
    if any(s.scored for s, _, _ in uses):
        return "error", "high"
    return "warning", "medium"

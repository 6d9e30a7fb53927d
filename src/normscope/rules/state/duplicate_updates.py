from __future__ import annotations

from collections.abc import Iterator

from normscope.concepts.recalibration import recalibrated
from normscope.concepts.wording import batch_norms
from normscope.finding import Finding, Measured, Severity
from normscope.probes import thresholds
from normscope.probes.results import Gap, Reading
from normscope.record.recording import Layer, Model, Pattern, Recording, Span
from normscope.rule import Faulty, Healthy, rule


@rule("NS405", severity="warning", since="0.1.0", explains=("NS408",))
def duplicate_updates(recording: Recording) -> Iterator[Finding]:
    """The running statistics move more than once per step on the same data.

    ## What it checks
    Two things: calls that backward ran again (activation checkpointing) and that moved the running statistics a
    second time; and several updating training forwards per step on the very same input tensor (SAM, closures of LBFGS).

    ## Why it matters
    Every repetition counts the same batch again: with k updates per step the momentum α acts as
    1 − (1 − α)^k, so the statistics average over fewer batches than the setting says, and with perturbed weights (SAM)
    they follow a point where the model never ends. Mostly harmless, hence an info; it is a warning where the gap probe
    measures that recomputed statistics do better.

    ## Example
    ```python
    h = checkpoint(self.block, x, use_reentrant=False)  # NS405: self.block holds a BatchNorm2d
    ```

    ## Repair
    Momentum 1 − (1 − α)^(1/k) restores the window; for SAM, evaluation mode of the batch norms in the second
    pass; in any case recomputed statistics before evaluating.

    ## Known limits
    Gradient accumulation is silent: its forwards see different inputs. Repetitions on a copy of the same data are not
    recognised.

    ## References
    - PyTorch, *torch.utils.checkpoint*. https://docs.pytorch.org/docs/stable/checkpoint.html
    - Foret et al., *Sharpness-Aware Minimization*, 2021. https://arxiv.org/abs/2010.01412
    """
    gaps = {g.model: g for g in recording.measurements.get("gap", []) if isinstance(g, Gap)}
    for model in recording.models.values():
        spans = [
            (s, p)
            for s in recording.spans
            if s.kind == "training" and (p := recording.patterns[s.pattern]).model == model.id
        ]
        if again := _recomputed(recording, spans):
            why = "activation checkpointing runs its forward again during backward"
            yield _finding(model, again, 2.0, why, gaps.get(model.id))
        elif repeated := _repeated(recording, spans):
            layers, times = repeated
            why = "the same input goes through the model again before the step"
            yield _finding(model, layers, times, why, gaps.get(model.id))


def _recomputed(recording: Recording, spans: list[tuple[Span, Pattern]]) -> list[Layer]:
    """Layers that moved their statistics in the forward and again when backward ran it once more."""
    found: dict[int, None] = {}
    for _, pattern in spans:
        first = {c.layer for c in pattern.calls if c.updates and not c.recomputed}
        again = {c.layer for c in pattern.calls if c.updates and c.recomputed}
        found.update(dict.fromkeys(sorted(first & again)))
    return [recording.layers[k] for k in found]


def _repeated(
    recording: Recording, spans: list[tuple[Span, Pattern]]
) -> tuple[list[Layer], float] | None:
    """Layers whose updating forwards mostly repeat the input of the forward before, and how often per step."""
    moving = [(s, p) for s, p in spans if any(c.updates for c in p.calls)]
    forwards = sum(s.forwards for s, _ in moving)
    by_site: dict[object, int] = {}
    for s, p in moving:  # passes from several lines share their steps
        by_site[p.site] = by_site.get(p.site, 0) + s.steps
    steps = max(by_site.values(), default=0)
    extra = forwards - steps
    # Full-batch training repeats its input too, but then every forward has a step of its own.
    if steps < 1 or extra < 0.5 * steps or sum(s.same_input for s, _ in moving) < 0.8 * extra:
        return None
    layers = dict.fromkeys(c.layer for _, p in moving for c in p.calls if c.updates)
    return [recording.layers[k] for k in layers], forwards / steps


def _finding(model: Model, layers: list[Layer], times: float, why: str, gap: Gap | None) -> Finding:
    stale = thresholds.staleness(gap) if gap else None
    severity: Severity = "warning" if stale in ("warning", "error") else "info"
    alphas = sorted({x.momentum for x in layers if x.momentum})
    acts = f" Momentum {alphas[0]:g} acts as {1 - (1 - alphas[0]) ** times:.2g}." if alphas else ""
    cost = (
        f" Recomputed statistics do better by {gap.stale.value:.3g} {gap.measure}."
        if gap and severity == "warning"
        else ""
    )
    return Finding(
        f"{batch_norms(len(layers))} of `{model.name}` {'moves its' if len(layers) == 1 else 'move their'} running statistics "
        f"{times:.2g} times per step on the same data: {why}.{acts}{cost} Recompute the statistics before evaluating, "
        "or lower the momentum.",
        severity=severity,
        confidence="high",
        model=model.name,
        layers=tuple(x.path for x in layers),
        measured=(Measured("updates per step on the same data", times, "updates", high=1.0),),
        repairs=(recalibrated(),),
    )


_STALE = Gap(
    model=0,
    name="Net",
    measure="error",
    unit="1",
    samples=2000,
    batches=32,
    batch=Reading(0.02, 0.003),
    population=Reading(0.02, 0.003),
    running=Reading(0.1, 0.005),
    stale=Reading(0.08, 0.005),
    inconsistent=Reading(0.0, 0.003),
)

CASES = (
    Faulty(
        "checkpointed block", ("a",), story="layer a; train a recomputed=True x9", severity="info"
    ),
    Faulty(
        "two passes on the same input",
        ("a", "b"),
        story="layer a; layer b; train a,b x100 steps=50 same=50",
        severity="info",
    ),
    Faulty(
        "two passes, and it costs",
        ("a",),
        story="layer a; train a x100 steps=50 same=50",
        measured={"gap": _STALE},
        severity="warning",
    ),
    Healthy("one update per step", story="layer a; train a x50"),
    Healthy("accumulated gradients of different batches", story="layer a; train a x100 steps=25"),
    Healthy("full-batch training on one tensor", story="layer a; train a x100 same=99"),
    Healthy(
        "checkpointed block in evaluation mode",
        story="layer a; train a mode=eval recomputed=True x9",
    ),
    Healthy(
        "second pass in evaluation mode",
        story="layer a; train a x50; train a mode=eval x50 steps=50 same=50",
    ),
)

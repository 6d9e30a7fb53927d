"""When the calls of one layer in one step count as different, and when that costs something. Imports no framework."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import exp, log, sqrt

from normscope.finding import Measured, Severity
from normscope.probes import thresholds
from normscope.probes.results import Gap, gap_of
from normscope.record.recording import Contrast, Layer, Model, Recording

LEAST_STEPS = 8  # sampled; with fewer the noise itself is not known
APART = 0.5  # standard deviations within a batch between batch means, rms over channels
FACTOR = 2.0  # between batch variances, typical channel
CHANCE = 2.0  # times what two random batches of that size differ by in the mean
DOUBLED = 2.0  # loss in evaluation over loss with batch statistics


@dataclass(frozen=True, slots=True)
class Told:
    """The layers of one model whose calls differ, the widest difference first, and what evaluation loses."""

    model: Model
    found: tuple[tuple[Layer, Contrast], ...]
    gap: Gap | None
    severity: Severity

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(layer.path for layer, _ in self.found))

    def difference(self) -> str:
        """In words, with numbers, of the layer that differs most."""
        _, c = self.found[0]
        parts = [f"batch means lie {c.mean:.2g} standard deviations apart"] * mean_differs(c)
        if variance_differs(c):
            parts.append(f"batch variances differ by a factor of {exp(c.log_var):.2g}")
        return " and ".join(parts)

    def cost(self) -> str:
        """What the gap probe says of it, as a sentence; empty where it says nothing that counts."""
        if self.severity == "info" or self.gap is None:
            return ""
        g = self.gap
        word = {"error": "error rate", "loss": "loss", "output": "output distance"}[g.measure]
        return (
            f" On the same training data its {word} is {g.batch.value:.3g} with batch statistics, "
            f"{g.population.value:.3g} with recomputed and {g.running.value:.3g} with running ones."
        )

    def measured(self) -> tuple[Measured, ...]:
        _, c = self.found[0]
        return (
            Measured(
                "difference of batch means between calls, rms over channels",
                c.mean,
                "standard deviations within a batch",
                high=least_apart(c),
                noise=c.mean / c.mean_t if c.mean_t else None,
            ),
            Measured(
                "difference of ln(batch variance) between calls, rms over channels",
                c.log_var,
                "1",
                high=log(FACTOR),
                noise=c.log_var / c.log_var_t if c.log_var_t else None,
            ),
            Measured("sampled steps", c.steps, "steps", low=LEAST_STEPS),
        )


def told_apart(recording: Recording, which: Callable[[Layer, Contrast], bool]) -> Iterator[Told]:
    """Each model with layers whose calls differ, among those that `which` chooses.

    A warning where the script relies on running statistics and the gap probe measures that they, or recomputed
    ones, do worse than batch statistics; else an info.
    """
    gaps = recording.measurements.get("gap", [])
    for model in recording.models.values():
        found = [
            (layer, c)
            for c in recording.contrasts
            if (layer := recording.layers[c.layer]).model == model.id
            and differs(c)
            and which(layer, c)
        ]
        if found:
            found.sort(key=lambda pair: -max(pair[1].mean / APART, pair[1].log_var / log(FACTOR)))
            gap = gap_of(gaps, model.id)
            severity = "warning" if gap is not None and costs(gap) else "info"
            yield Told(model, tuple(found), gap, severity)


def differs(c: Contrast) -> bool:
    """A later call's batches are of another distribution than the first one's: for certain, and by much.

    The same data once more (sharpness-aware minimization) is not.
    """
    if c.steps < LEAST_STEPS or 2 * c.same_input >= c.steps:
        return False
    return mean_differs(c) or variance_differs(c)


def mean_differs(c: Contrast) -> bool:
    return c.mean > least_apart(c) and c.mean_t > surely(c.steps)


def variance_differs(c: Contrast) -> bool:
    return c.log_var > log(FACTOR) and c.log_var_t > surely(c.steps)


def least_apart(c: Contrast) -> float:
    """More than two random batches of N samples differ by, whose means have a standard deviation of 1/√N each."""
    return max(APART, CHANCE * sqrt(2 / max(c.samples, 1)))


def surely(steps: int) -> float:
    """Standard errors that chance exceeds once in a million: above Student's bound for n ≥ 8 (15.8 at 8, 6.1 at 31)."""
    return 5.0 + 75.0 / (steps - 1)


def costs(gap: Gap) -> bool:
    """Whether evaluation with running statistics is above its floor, on a model that is evaluated with them."""
    judged = (thresholds.staleness(gap), thresholds.inconsistency(gap))
    if gap.relied_on is False or not any(judged):
        return False
    if "error" in judged or "warning" in judged:
        return True
    # Decisions on rare things, as of a detector, stand while the loss says what is lost.
    worse = max(gap.running.value, gap.population.value)
    return gap.measure == "loss" and worse > DOUBLED * gap.batch.value > 0

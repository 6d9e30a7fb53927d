from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normscope.finding import Finding, Measured, Remedy, Severity, Steps
from normscope.record.recording import Gradients, Model, Recording, Scalars
from normscope.rule import Faulty, Healthy, rule

SMALL = 1e-3  # of the model's largest ‖g‖/‖w‖
FAINT = 1e-7  # ‖g‖/‖w‖ itself: less than float32 resolves, at learning rates up to 1
HALF = 0.5  # of the weights
FEWEST = 3  # weights
DEEP = 100.0  # ‖g‖·‖w‖ of the first weights over that of the last
GROWN = 100.0  # gradient norm, late over early
LONG = 100  # steps; before, a loss may well stand still
STILL = 0.8  # late loss over early loss, from which on nothing was learned
SLOW = 0.5  # the same where half of the weights have no gradient at all: the others learn on
ENDS = 3  # weights at either end of the model, which are compared by their geometric mean
REPAIRS = {
    "vanish": "Normalize in front of the activations, or draw the weights by fan-in (He, Glorot).",
    "depth": "Add skip connections, or use fewer layers.",
    "explode": "Lower the learning rate, clip the gradient, or warm up.",
}


@rule("NS504", severity="warning", since="0.1.0")
def exploding_or_vanishing_gradients(
    gradients: Gradients, recording: Recording
) -> Iterator[Finding]:
    """The gradient does not reach the first layers, or grows without bound, and the loss shows it.

    ## What it checks
    Gradient and weight norms by weight tensor at sampled steps from step 10 on, together with the loss.

    - *Vanishing*: in late samples, half of the weights or more have ‖g‖/‖w‖ (the median) below a thousandth of the model's largest, or
      below 1e-7, and the loss has not fallen by a fifth since step 10; or no gradient at all, and it has not fallen by half.
    - *Exploding on the way back*: ‖g‖·‖w‖ is more than 100 times as large at the first weights as at the last, and the loss
      stands still in the same way.
    - *Exploding over time*: gradients that are no finite numbers to the end; or 100 times as large late as
      early while the loss has doubled.

    ## Why it matters
    Layers that no gradient reaches stay as they were drawn, and what lies behind them learns from noise. Measured on digits, ten sigmoid
    layers behind one norm: gradients from 0.6 down to 5e-9, test accuracy 9 %; with a norm before each sigmoid 95 %.

    ## Example
    ```python
    for linear in self.layers:
        x = torch.sigmoid(linear(x))  # NS504 with ten of them; `torch.sigmoid(norm(linear(x)))` trains
    ```

    ## Repair
    It is a symptom: a finding above it names the cause where normalization is it. Else a norm in front of each activation, an
    initialization by fan-in, skip connections; against growth a lower learning rate, warm-up or clipping.

    ## Known limits
    Silent when the loss falls, is near zero or negative; in runs of fewer than 100 steps; and, but for gradients that are no numbers,
    where several models are optimized, because one loss does not speak for both (GANs). Info for a model without norm layers.
    Weights without an optimizer, sparse gradients and vectors are not sampled. The thousandth is AutoTrainer's bound for
    first against last layer, which alone would flag healthy runs; with the loss it flagged none of 244 healthy scripts.

    ## References
    - Zhang et al., *AUTOTRAINER*, 2021, section III. https://github.com/shiningrain/AUTOTRAINER
    - Glorot & Bengio, *Understanding the difficulty of training deep feedforward neural networks*, 2010, section 4.
      https://proceedings.mlr.press/v9/glorot10a.html
    """
    trained = [m for m in recording.models.values() if m.optimized]
    for model in trained:
        view = of_model(gradients, model)
        if view is None:
            continue
        trend = trend_of(recording.scalars) if len(trained) == 1 else None
        found = not_finite(view, recording)
        if found is None and trend is not None:
            found = growing(view, trend)
        if found is None and trend is not None and recording.steps >= LONG:
            found = vanishing(view, trend) or exploding_back(view, trend)
        if found is not None:
            yield finding(model, found, trend)


@dataclass(frozen=True, slots=True)
class View:
    """One model's samples: arrays of shape (steps, weights), NaN where a weight was not sampled."""

    steps: NDArray[np.int64]
    modules: tuple[str, ...]
    gradient: NDArray[np.float64]
    weight: NDArray[np.float64]

    def late(self) -> slice:
        """The second half of the samples."""
        return slice(len(self.steps) // 2, None)


@dataclass(frozen=True, slots=True)
class Trend:
    """The loss: over all, from step 10 on, and at the end."""

    first: float
    early: float
    late: float

    @property
    def slow(self) -> bool:
        return self.late > SLOW * self.early > 0 and self.late > 0.1 * self.first

    @property
    def still(self) -> bool:
        return self.slow and self.late > STILL * self.early


@dataclass(frozen=True, slots=True)
class Found:
    cause: str
    where: tuple[str, ...]
    message: str
    measured: Measured
    steps: NDArray[np.int64]


def of_model(gradients: Gradients, model: Model) -> View | None:
    columns = [k for k, p in enumerate(gradients.parameters) if p.model == model.id]
    if not columns:
        return None
    unknown = np.isnan(gradients.gradient[:, columns])
    if not len(rows := np.flatnonzero(~unknown.all(1))):
        return None
    return View(
        gradients.steps[rows],
        tuple(gradients.parameters[k].path.rpartition(".")[0] for k in columns),
        gradients.gradient[rows][:, columns],
        gradients.weight[rows][:, columns],
    )


def trend_of(scalars: Scalars | None) -> Trend | None:
    """None when there are too few finite losses from step 10 on to tell."""
    if scalars is None:
        return None
    known = np.isfinite(scalars.loss)
    loss, steps = scalars.loss[known], scalars.steps[known]
    after = loss[steps >= 10]
    if len(after) < 10:
        return None
    last = after[-max(5, len(after) // 5) :]
    return Trend(*(float(np.median(x)) for x in (loss[:3], after[:5], last)))


def not_finite(view: View, recording: Recording) -> Found | None:
    """Gradients that became infinite or NaN and stayed so; a single overflow is not it."""
    bad = np.asarray(np.isinf(view.gradient).any(1))
    lost = recording.scalars is not None and not np.isfinite(recording.scalars.loss[-1:]).all()
    if not bad[-1] or not (lost or bad[-3:].sum() >= 2):
        return None
    begin = int(np.flatnonzero(~bad)[-1]) + 1 if not bad.all() else 0
    share = float(np.isinf(view.gradient[-1]).mean())
    where = [m for m, g in zip(view.modules, view.gradient[-1], strict=True) if np.isinf(g)]
    return Found(
        "explode",
        (where[0],),
        f"From step {view.steps[begin]} on or shortly before, gradients are no finite numbers: {share:.0%} of the weights' at the end.",
        Measured("weights whose gradient is not finite", share, "share", high=0.0),
        view.steps[begin:],
    )


def growing(view: View, trend: Trend) -> Found | None:
    size = np.sqrt(np.nansum(view.gradient**2, axis=1))
    if len(size) < 4 or trend.late <= 2 * max(trend.first, trend.early) or trend.early <= 0:
        return None
    early, late = float(np.median(size[:2])), float(np.median(size[-2:]))
    if not late > GROWN * early:
        return None
    return Found(
        "explode",
        (view.modules[int(np.nanargmax(view.gradient[-1]))],),
        f"The gradient grew {late / max(early, 1e-300):.3g}-fold, from {early:.3g} to {late:.3g}, while the loss went from "
        f"{trend.early:.3g} to {trend.late:.3g}.",
        Measured("gradient norm, late over early", late / max(early, 1e-300), "1", high=GROWN),
        view.steps,
    )


def vanishing(view: View, trend: Trend) -> Found | None:
    gradient, weight = view.gradient[view.late()], view.weight[view.late()]
    seen = np.isfinite(gradient)
    if len(seen) < 2 or not bool(seen.any(0).all()) or len(view.modules) < FEWEST:
        return None
    ratio = np.divide(gradient, weight, out=np.zeros_like(gradient), where=weight > 0)
    rate = np.nanmedian(np.where(seen, ratio, np.nan), axis=0)
    small = (rate < SMALL * rate.max()) | (rate < FAINT)
    dead = ((gradient == 0) | ~seen).all(0)
    gone = dead if dead.mean() >= HALF and trend.slow else small
    if float(gone.mean()) < HALF or not (trend.still or gone is dead):
        return None
    where = [view.modules[k] for k in np.flatnonzero(gone)]
    least, most = float(gradient[seen].min()), float(gradient[seen].max())
    return Found(
        "vanish",
        (where[0], where[-1]),
        f"Hardly any gradient reaches {len(where)} of {len(view.modules)} weights, from `{where[0]}` to `{where[-1]}`: "
        f"norms from {least:.1e} to {most:.1e}.",
        Measured(
            "weights below a thousandth of the largest ‖g‖/‖w‖",
            float(gone.mean()),
            "share",
            high=HALF,
        ),
        view.steps[view.late()],
    )


def exploding_back(view: View, trend: Trend) -> Found | None:
    pull = (view.gradient * view.weight)[view.late()]
    whole = np.isfinite(pull).all(1) & np.greater(pull, 0).all(1)
    ends = min(ENDS, pull.shape[1] // 3)
    if whole.sum() < 2 or not ends or not trend.still:
        return None
    log = np.log(pull[whole])
    ratio = float(np.median(np.exp(log[:, :ends].mean(1) - log[:, -ends:].mean(1))))
    if ratio <= DEEP:
        return None
    return Found(
        "depth",
        (view.modules[0], view.modules[-1]),
        f"The gradient at the first weights, `{view.modules[0]}`, is {ratio:.3g} times that at the last, `{view.modules[-1]}`.",
        Measured("gradient norm × weight norm, first over last", ratio, "1", high=DEEP),
        view.steps[view.late()][whole],
    )


def finding(model: Model, found: Found, trend: Trend | None) -> Finding:
    severity: Severity = "warning" if model.norm_layers else "info"
    stands = (
        f" The loss stands still, {trend.early:.3g} at step 10 and {trend.late:.3g} at the end."
        if trend is not None and found.cause != "explode"
        else ""
    )
    return Finding(
        f"{found.message}{stands} {REPAIRS[found.cause]}",
        severity=severity,
        confidence="low",  # that it is so is certain; that normalization is to blame is not
        model=model.name,
        layers=tuple(dict.fromkeys(found.where)),
        steps=Steps(int(found.steps[0]), int(found.steps[-1]), len(found.steps)),
        measured=(found.measured,),
        repairs=(Remedy("let the gradient through", "changes-function", REPAIRS[found.cause]),),
    )


def _run(first: float, last: float = 1.0, steps: int = 300, **loss: float) -> str:
    """Six weights whose gradients fall geometrically from the last to the first; the loss goes from `start` to `end`."""
    size = np.geomspace(first, last, 6)
    each = " ".join(f"w{i}.weight={x:.6g}" for i, x in enumerate(size))
    start, end = loss.get("start", 2.3), loss.get("end", 2.3)
    told = ["layer a", f"train a x{steps}"]
    told += [f"gradient {s} {each}" for s in (10, 22, 55, 110, 215)]
    told += [f"loss {1 + 10 * i} {v:.6g}" for i, v in enumerate(np.linspace(start, end, 30))]
    return "; ".join(told)


def _steps(norms: tuple[float, ...], end: float, start: float = 2.3) -> str:
    told = ["layer a", "train a x300"]
    told += [
        f"gradient {10 * 2**i} " + " ".join(f"w{k}.weight={g}" for k in range(3))
        for i, g in enumerate(norms)
    ]
    told += [f"loss {1 + 10 * i} {v:.6g}" for i, v in enumerate(np.geomspace(start, end, 30))]
    return "; ".join(told)


_DEAD = _run(1.0).replace(
    "w0.weight=1 w1.weight=1 w2.weight=1 w3.weight=1",
    "w0.weight=0 w1.weight=0 w2.weight=0 w3.weight=0",
)

CASES = (
    Faulty(
        "vanishing over depth, the loss stands still",
        ("w0", "w2"),
        story=_run(1e-7),
        severity="warning",
    ),
    Faulty("no gradient at all in most weights", ("w0", "w3"), story=_DEAD, severity="warning"),
    Faulty("no gradient anywhere", ("w0", "w5"), story=_run(1.0).replace("weight=1", "weight=0")),
    Faulty("exploding on the way back", ("w0", "w5"), story=_run(3000.0), severity="warning"),
    Faulty(
        "growing with the loss", ("w0",), story=_steps((1.0, 5.0, 80.0, 900.0, 5000.0), end=4e4)
    ),
    Faulty("no numbers", ("w0",), story=_steps((1.0, 9.0, 1e400, 1e400, 1e400), end=2.0)),
    Healthy("even gradients, the loss stands still: noise", story=_run(0.5)),
    Healthy("a factor of 500 over depth", story=_run(1 / 500)),
    Healthy("80 times on the way back", story=_run(80.0)),
    Healthy("vanishing over depth, and it trains: sigmoids", story=_run(1e-7, end=0.6)),
    Healthy("exploding on the way back, and it trains", story=_run(3000.0, end=0.6)),
    Healthy(
        "everything small at the end of convergence", story=_run(1e-9, 1e-8, start=2.3, end=1e-3)
    ),
    Healthy(
        "a loss that was small from step 10 on",
        story=_run(1e-7, end=0.05).replace("loss 11 ", "loss 12 "),
    ),
    Healthy("a short run", story=_run(1e-7, steps=60)),
    Healthy("a negative loss", story=_run(1e-7, start=-1.0, end=-1.0)),
    Healthy(
        "gradients shrink a thousandfold as the loss falls",
        story=_steps((5.0, 1.0, 0.1, 0.005), end=0.01),
    ),
    Healthy("gradients grow fifty-fold", story=_steps((1.0, 5.0, 20.0, 50.0, 50.0), end=9.0)),
    Healthy("gradients grow, the loss does not", story=_steps((1.0, 50.0, 300.0, 900.0), end=1.5)),
    Healthy("one overflow", story=_steps((1.0, 1.0, 1e400, 1.0, 1.0), end=1.0)),
    Healthy("one overflow at the end", story=_steps((1.0, 1.0, 1.0, 1.0, 1e400), end=1.0)),
    Healthy("no loss seen", story="layer a; train a x300; gradient 10 w.weight=1e-9 v.weight=1"),
)

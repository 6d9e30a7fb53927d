"""Moments of values and gradients through the depth of a model, in plain words and as a plot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from normscope.probes.answers.flow import Flow, Place
from normscope.report.html.figures import Chart, Group, Line, Panel, Section, table
from normscope.report.wording import count, number, percent, shortened


def sentence(flow: Flow) -> str:
    """The range of the deviations and of the gradients."""
    if not flow.places:
        return f"Flow through {shortened(flow.name)}: no norm or activation was called."
    least, most = min(flow.places, key=lambda p: p.sd), max(flow.places, key=lambda p: p.sd)
    told = [
        f"standard deviations of {count(len(flow.places), 'output')} of norms and activations from {number(least.sd)} ({_place(least)}) to "
        f"{number(most.sd)} ({_place(most)})"
    ]
    if flow.weights:
        small = min(flow.weights, key=lambda w: w.gradient)
        large = max(flow.weights, key=lambda w: w.gradient)
        told.append(
            f"gradient norms of {count(len(flow.weights), 'weight')} from {number(small.gradient)} (`{shortened(small.path)}`) to "
            f"{number(large.gradient)} (`{shortened(large.path)}`)"
        )
    return f"Flow through {shortened(flow.name)}: {'; '.join(told)}."


def sections(flow: Flow, number_: int) -> Iterator[Section]:
    """Values in the order of execution, and gradients of weights in the order of the modules."""
    title = f"Values through the depth: {shortened(flow.name)}"
    if not flow.places:
        yield Section(f"flow-{number_}", title, missing="No norm or activation was called.")
    else:
        yield Section(
            f"flow-{number_}",
            title,
            "The outputs of norms and activations in the order of execution, with batch statistics and dropout off; all values of a layer together. The gradient is "
            "that of the loss with respect to the output of one batch.",
            chart=_places(flow.places),
            table=table(
                ["output of", "mean", "sd", "kurtosis", "positive", "gradient norm"],
                [
                    [
                        _place(p),
                        number(p.mean),
                        number(p.sd),
                        number(p.kurtosis),
                        percent(p.positive),
                        number(p.gradient),
                    ]
                    for p in flow.places
                ],
            ),
        )
    if flow.weights:
        yield Section(
            f"flow-weights-{number_}",
            f"Gradients of weights: {shortened(flow.name)}",
            "Norms of the gradient of one batch's loss, rms over batches, in the order of the modules.",
            chart=Chart(
                "weight",
                [
                    Group(
                        "all",
                        _axis(flow.weights),
                        [
                            Panel(
                                "log10 ‖g‖",
                                [Line("gradient", [_log(w.gradient) for w in flow.weights])],
                            ),
                            Panel(
                                "log10 ‖g‖/‖w‖",
                                [
                                    Line(
                                        "ratio",
                                        [
                                            _log(w.gradient / w.weight if w.weight else 0.0)
                                            for w in flow.weights
                                        ],
                                    )
                                ],
                            ),
                        ],
                    )
                ],
            ),
            table=table(
                ["weight", "‖g‖", "‖w‖"],
                [[shortened(w.path), number(w.gradient), number(w.weight)] for w in flow.weights],
            ),
        )


def _places(places: Sequence[Place]) -> Chart:
    panels = [
        Panel(
            "mean and sd",
            [
                Line("mean", [_finite(p.mean) for p in places]),
                Line("sd", [_finite(p.sd) for p in places]),
            ],
        ),
        Panel("kurtosis", [Line("kurtosis", [_finite(p.kurtosis) for p in places])]),
        Panel("share above 0", [Line("positive", [p.positive for p in places])]),
    ]
    if any(p.gradient for p in places):
        panels.append(
            Panel("log10 ‖∂L/∂a‖", [Line("gradient", [_log(p.gradient or 0.0) for p in places])])
        )
    return Chart("output, in order of execution", [Group("all", _axis(places), panels)])


def _place(place: Place) -> str:
    where = f"`{shortened(place.path)}`" if place.path else "the model"
    again = f" (call {place.index + 1})" if place.index else ""
    return f"{place.function} in {where}{again}"


def _axis(values: Sequence[object]) -> list[float]:
    return [float(i + 1) for i in range(len(values))]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _log(value: float) -> float | None:
    return math.log10(value) if value > 0 and math.isfinite(value) else None

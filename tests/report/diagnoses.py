"""Diagnoses to report on: told as stories, with findings and measurements added by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from normscope import diagnosis as d
from normscope.finding import Finding, Measured, NotEvaluated, Remedy, Steps
from normscope.graph.model import Site
from normscope.probes.results import Gap, LayerGap, Reading
from normscope.record.recording import Channels, Cost, Polls, Recording, Scalars
from normscope.record.story import story

TOLD = """
layer features.1 channels=16
layer features.4 channels=32
train features.1,features.4 batch=4 x480
infer features.1,features.4 mode=train batch=64 x8 blocks=2 scored=8
infer features.1,features.4 mode=eval batch=64 x4
"""

CAUSE = Finding(
    message="The model was scored while in train mode: 8 of 12 inference forwards used batch statistics.",
    severity="error",
    model="Net",
    layers=("features.1", "features.4"),
    site=Site("train.py", 42),
    steps=Steps(120, 480, 7),
    measured=(
        Measured("inference forwards in train mode", 0.667, "1", high=0.0),
        Measured("change of an output with its batch", 0.31, "sd", high=0.05, noise=0.01),
    ),
    repairs=(
        Remedy("bigger-batch", "changes-function", "raise the batch size to 32"),
        Remedy("call-eval", "exact", "call model.eval() before train.py:42"),
    ),
    code="NS401",
    name="inference-in-train-mode",
)
SYMPTOM = Finding(
    message="Recomputed statistics do better than the running ones.",
    severity="warning",
    confidence="medium",
    model="Net",
    layers=("features.4",),
    measured=(Measured("running − recomputed", 0.42, "nats", high=0.02, noise=0.01),),
    code="NS408",
    name="stale-statistics",
    explained_by="NS401",
)
OTHER = Finding(
    message="A bias before batch norm has no effect.",
    severity="info",
    model="Net",
    layers=("features.0",),
    code="NS101",
    name="redundant-bias",
)


def gap(stale: float = 0.42, **words: Any) -> Gap:
    """A gap of `stale` nats between running and recomputed statistics."""
    return Gap(
        **(
            {
                "model": 0,
                "name": "Net",
                "measure": "loss",
                "unit": "nats",
                "samples": 2048,
                "batches": 32,
                "batch": Reading(0.31, 0.004),
                "population": Reading(0.30, 0.003),
                "running": Reading(0.30 + stale, 0.005),
                "stale": Reading(stale, 0.004),
                "inconsistent": Reading(-0.01, 0.006),
                "error_batch": 0.08,
                "error_population": 0.07,
                "error_running": 0.19,
                "layers": (
                    LayerGap(0, "features.1", 0.9, 0.4, 0.02, 0.9 * stale),
                    LayerGap(1, "features.4", 0.1, 0.05, 0.02, 0.1 * stale),
                ),
            }
            | words
        )
    )


def recording(told: str = TOLD, *, gaps: tuple[Gap, ...] = (gap(),), seed: int = 0) -> Recording:
    """The told run with series, channels, measurements and cost."""
    r = story(told)
    r.target = "train.py"
    rng = np.random.default_rng(seed)
    steps = np.arange(1, r.steps + 1, 4, dtype=np.int64)
    shape = (len(steps), len(r.layers))
    noise = rng.gamma(4.0, 0.1, shape).astype(np.float32)
    r.polls = Polls(steps, tuple(r.layers), {"mean_noise": noise, "var_noise": 0.5 * noise})
    loss = 2.3 * np.exp(-steps / 150) + 0.3 + rng.normal(0, 0.05, len(steps))
    r.scalars = Scalars(steps, loss, np.full(len(steps), 0.1))
    for layer in r.layers.values():
        mean, sd = rng.normal(0, 1, layer.channels), rng.gamma(4, 0.25, layer.channels)
        shift = rng.normal(0.5, 0.2, layer.channels)
        r.channels[layer.id] = Channels(mean + shift, (1.3 * sd) ** 2, mean, sd**2)
    if gaps:
        r.measurements["gap"] = list(gaps)
    r.metrics["accuracy"] = [(240, 0.61), (480, 0.81)]
    r.cost = Cost(budget=0.01, observing=0.06, loop=10.06, startup=0.4, probing=2.1)
    return r


def failing() -> d.Diagnosis:
    """A cause, its symptom, a remark, and rules that could not run."""
    findings = (CAUSE, SYMPTOM, OTHER)
    r = recording()
    return d.Diagnosis(
        r,
        d.verdict(r, findings),
        findings,
        (
            NotEvaluated("NS411", "ranks", "record every rank of a distributed run"),
            NotEvaluated("NS701", "export", ""),
        ),
        d.Coverage(("aten::sort",), ("Net.head.norm",), ("compiled: only buffers are observed",)),
    )


def healthy() -> d.Diagnosis:
    """No finding, and a gap within its noise."""
    r = recording(gaps=(gap(0.002),))
    return d.Diagnosis(r, d.verdict(r, ()), (), (), d.Coverage())


def empty() -> d.Diagnosis:
    """A run in which nothing was seen."""
    r = Recording(target="train.py")
    return d.Diagnosis(r, d.verdict(r, ()), (), (), d.Coverage())


HOSTILE = (
    "<script>alert('x')</script> </script><!-- [bold]B[/bold] \"q\" {{ 7*7 }} \x1b[31m\u202eλ→\u2028 "
    + "very/long/" * 40
)


def hostile() -> d.Diagnosis:
    """Every text that the user controls is an attack on the report."""
    told = recording()
    told.target = HOSTILE
    told.models[0].name = HOSTILE
    for layer in told.layers.values():
        layer.path = HOSTILE
    told.metrics[HOSTILE] = [(1, 0.5)]
    bad = gap(
        name=HOSTILE,
        unit=HOSTILE,
        layers=(LayerGap(0, HOSTILE, 0.9, 0.4, 0.02, 0.4),),
        note=HOSTILE,
    )
    told.measurements["gap"] = [bad]
    finding = Finding(
        message=HOSTILE,
        severity="error",
        model=HOSTILE,
        layers=(HOSTILE,) * 9,
        site=Site(HOSTILE, 1),
        measured=(Measured(HOSTILE, float("nan"), HOSTILE, high=float("inf")),),
        repairs=(Remedy(HOSTILE, "exact", HOSTILE),),
        code="NS401",
        name="inference-in-train-mode",
    )
    seen = d.Coverage((HOSTILE,), (HOSTILE,), (HOSTILE, "undecodable \udcff"))
    return d.Diagnosis(
        told,
        d.verdict(told, [finding]),
        (finding,),
        (NotEvaluated("NS411", HOSTILE, HOSTILE),),
        seen,
    )


def repaired() -> d.Diagnosis:
    """The failing run after its repair: healthy, with another loss and metric."""
    r = recording(
        "layer features.1 channels=16; layer features.4 channels=32; train features.1,features.4 batch=32 x480",
        gaps=(gap(0.002),),
        seed=1,
    )
    assert r.scalars is not None
    r.scalars.loss *= 0.5
    r.metrics["accuracy"] = [(240, 0.83), (480, 0.95)]
    return d.Diagnosis(r, d.verdict(r, [OTHER]), (OTHER,), (), d.Coverage())

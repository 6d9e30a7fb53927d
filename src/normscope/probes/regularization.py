# pyright: basic
"""What each regularizer costs on the training data: at once, with fixed weights, and over a few training steps without it.

Copies of the model are trained on from the given state, in arms that differ in one regularizer and share the order of batches and the
random state. What is compared are clean losses, of the weights alone (see `normscope.probes.answers.regularization`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.errors import NormscopeError
from normscope.probes import effects
from normscope.probes.answers.regularization import Immediate, Regularization
from normscope.probes.clock import now
from normscope.probes.comparison import Column
from normscope.probes.gradients import mean_loss, trainable
from normscope.probes.granted import refuse_beyond
from normscope.probes.judgement import UNITS, Judged, judge
from normscope.probes.population import install, population
from normscope.probes.regularizers import (
    DECAY,
    DROPOUT,
    NOISE,
    Arm,
    as_trained,
    dropless,
    noisy_norms,
)
from normscope.probes.replay import bare, respond, set_mode
from normscope.probes.setup import Given, Prepared
from normscope.probes.step_size import step_size
from normscope.probes.untouched import untouched
from normscope.probes.without_statistics import copied

SEEDS, FEWEST_SEEDS = 6, 4
MOST_STEPS, FEWEST_STEPS = 60, 10
JUDGED, FEWEST_JUDGED = 1024, 128  # samples of each data set that losses are measured on
RATED = 512  # samples that the learning rate is found on
REFRESHED, REFRESHING = (
    10,
    256,
)  # steps between, samples for, population statistics that stand in for a batch's own
TRIES, RISE = 4, 0.05  # of a learning rate; share that the loss may rise by in the fewest steps
BEFORE = 4  # runs' worth of time for the learning rate and the plan


def measure(
    asked: Prepared,
    *,
    model_id: int,
    seconds: float = 60.0,
    progress: Callable[[float], None] = lambda _: None,
) -> Regularization:
    """Ask the model; about `seconds` of time, the model untouched afterwards.

    Raises NormscopeError with the reason when it cannot be asked: no regularizer, no loss, a model that cannot be copied, too slow.
    """
    model = bare(asked.model)
    with untouched(model):
        samples = _judgeable(model, asked.train, seconds)
    with untouched(model):
        trial = _Trial(model, asked, samples)
        progress(0.02)
        plan = trial.planned(seconds)
        immediate = tuple(trial.immediate())
        progress(0.05)
        results: dict[str, list[tuple[torch.Tensor, torch.Tensor | None]]] = {}
        runs = [(arm, seed) for seed in range(plan[1]) for arm in trial.arms]
        for i, (arm, seed) in enumerate(runs):
            results.setdefault(arm.without, []).append(trial.run(arm, seed, plan[0]))
            progress(0.05 + 0.95 * (i + 1) / len(runs))
    on = results.pop("")
    if not all(bool(train.isfinite().all()) for train, _ in on):
        raise NormscopeError(
            "its loss diverged when it was trained on; give training's own optimizer: `'optimizer': lambda p: torch.optim.SGD(p, 0.1)`"
        )
    found = [effects.effect(name, on, off) for name, off in results.items()]
    return Regularization(
        model=model_id,
        name=asked.name,
        unit=UNITS.get(trial.train[0].loss or "", "1"),
        samples=sum(b.samples for b in trial.train),
        held_out_samples=sum(b.samples for b in trial.held_out),
        steps=plan[0],
        seeds=plan[1],
        start=float(trial.start.mean()),
        loss=_mean([train for train, _ in on]),
        constant=effects.constant(trial.train),
        error=trial.error,
        held_out=_mean([h for _, h in on if h is not None]) if trial.held_out else None,
        rate=trial.rate,
        weight_decay=trial.weight_decay,
        immediate=immediate,
        effects=tuple(e for e in found if math.isfinite(e.train.value)),
        diverged=tuple(e.regularizer for e in found if not math.isfinite(e.train.value)),
    )


class _Trial:
    """The model, its data and its arms."""

    def __init__(self, model: nn.Module, asked: Prepared, samples: int = JUDGED) -> None:
        self.model, self.batches, self.setup = model, asked.train, asked.setup
        self.train = _some(asked.train, samples)
        self.held_out = _some(asked.held_out, samples)
        self.paths = noisy_norms(model)
        copy = copied(model)
        trainable(copy)
        self.start, _, self.error = self._clean(copy, self.train, [])
        self.rate: float | None = None
        self.weight_decay = self.setup.weight_decay
        if self.setup.optimizer is None:
            self._rate()
        else:
            self.weight_decay = self._decay()
        self.arms = [Arm(), *(Arm(name) for name in self._present())]
        if len(self.arms) == 1:
            raise NormscopeError(
                "it has no dropout, no batch norm in training and no weight decay to switch off"
            )

    def _rate(self) -> None:
        """By `step_size`, then quartered until the fewest steps with everything on leave the clean loss about where it was."""
        copy = copied(self.model)
        set_mode(copy, self._norms(copy))
        self.rate = step_size(copy, _some(self.batches, RATED))
        most = (1 + RISE) * float(self.start.mean())
        for _ in range(TRIES):
            if float(self.run(Arm(), 0, FEWEST_STEPS)[0].mean()) <= most:
                return
            self.rate /= 4

    def _optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        parameters = trainable(model)
        if self.setup.optimizer is not None:
            return self.setup.optimizer(parameters)
        assert self.rate is not None
        return torch.optim.SGD(parameters, self.rate)

    def _decay(self) -> float:
        groups = self._optimizer(copied(self.model)).param_groups
        own = max((float(g.get("weight_decay", 0.0)) for g in groups), default=0.0)
        return own or self.setup.weight_decay

    def _present(self) -> list[str]:
        copy = copied(self.model)
        as_trained(copy)
        with dropless(copy) as handle:
            respond(copy, self.train[0])
        there = ((DROPOUT, handle.met), (NOISE, bool(self.paths)), (DECAY, self.weight_decay > 0))
        return [name for name, present in there if present]

    def planned(self, seconds: float) -> tuple[int, int]:
        """Steps and seeds that fit. Raises NormscopeError when even the fewest take much longer than granted."""
        began = now()
        self.run(Arm(), 0, 1)
        one = now() - began
        began = now()
        self.run(Arm(), 0, 4)
        step = max((now() - began - one) / 3, 1e-5)
        rest = max(one - step, 0.0)
        for seeds in range(SEEDS, FEWEST_SEEDS - 1, -1):
            each = seconds / (seeds * len(self.arms))
            steps = min(MOST_STEPS, int((each - rest) / step))
            if steps >= FEWEST_STEPS:
                return steps, seeds
        needed = FEWEST_SEEDS * len(self.arms) * (rest + FEWEST_STEPS * step)
        refuse_beyond(needed, seconds)
        return FEWEST_STEPS, FEWEST_SEEDS

    def run(self, arm: Arm, seed: int, steps: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Clean losses of each training and held-out sample after some steps."""
        model = copied(self.model)
        norms = self._norms(model)
        arm.prepare(model, self.train, norms)
        optimizer = self._optimizer(model)
        arm.decayed(optimizer, self.weight_decay)
        order = _order(len(self.batches), steps, seed)
        torch.manual_seed(seed)
        random.seed(seed)
        with arm.forward(model), torch.enable_grad():
            for done, i in enumerate(order):
                if arm.without == NOISE and done and done % REFRESHED == 0:
                    arm.prepare(model, _some(self.train, REFRESHING), norms)
                optimizer.zero_grad()
                mean_loss(model, self.batches[i]).backward()
                optimizer.step()
        train, held_out, _ = self._clean(model, self.train, self.held_out)
        return train, held_out

    def _norms(self, model: nn.Module) -> list[_BatchNorm]:
        return [model.get_submodule(path) for path in self.paths]  # pyright: ignore[reportReturnType]

    @torch.no_grad()
    def _clean(
        self, model: nn.Module, train: list[Given], held_out: list[Given]
    ) -> tuple[torch.Tensor, torch.Tensor | None, float | None]:
        """Losses of the weights alone, per sample, and the share of wrong decisions on training data."""
        install(population(model, train, self._norms(model)))
        set_mode(model)
        judged = [judge(b, respond(model, b)) for b in train]
        there = _column([judge(b, respond(model, b)) for b in held_out]) if held_out else None
        wrong = [j.wrong for j in judged if j.wrong is not None]
        error = float(torch.cat(wrong).mean()) if len(wrong) == len(judged) else None
        return _column(judged), there, error

    def immediate(self) -> list[Immediate]:
        """Dropout on against off, both with batch statistics; batch statistics against population statistics, both without dropout."""
        names = [arm.without for arm in self.arms]
        copy = copied(self.model)
        norms = self._norms(copy)
        as_trained(copy)
        for norm in norms:
            norm.momentum = 0.0
        torch.manual_seed(0)
        noisy = _losses(copy, self.train)
        set_mode(copy, norms)
        batch = _losses(copy, self.train)
        found: list[Immediate] = []
        if DROPOUT in names:
            found.append(effects.immediate(DROPOUT, noisy, batch))
        if NOISE in names:
            sizes = [len(b) for b in batch]
            found.append(effects.immediate(NOISE, batch, [*self.start.split(sizes)]))
        return found


def _judgeable(model: nn.Module, batches: Sequence[Given], seconds: float) -> int:
    """How many samples of each data set losses can be measured on, so that the fewest runs fit.

    Told by one forward pass before anything else is done. Raises NormscopeError when even the fewest samples take much
    longer than granted. Changes modes: to be called inside an `untouched` of its own.
    """
    set_mode(model)
    once = math.inf
    for _ in range(2):  # the first forward may allocate and choose kernels
        began = now()
        respond(model, batches[0])
        once = min(once, now() - began)
    each = once / batches[0].samples
    # Forth and back is three forwards. Statistics, two forwards' worth, and losses on both data sets follow each run.
    steps = 3 * FEWEST_STEPS * once
    runs = FEWEST_SEEDS * 3 + BEFORE
    needed = runs * (steps + 4 * FEWEST_JUDGED * each)
    refuse_beyond(needed, seconds)
    fit = (seconds / runs - steps) / max(4 * each, 1e-9)
    return int(min(max(fit, FEWEST_JUDGED), JUDGED))


def _losses(model: nn.Module, batches: list[Given]) -> Column:
    with torch.no_grad():
        return _parts([judge(b, respond(model, b)) for b in batches])


def _column(judged: list[Judged]) -> torch.Tensor:
    return torch.cat(_parts(judged))


def _parts(judged: list[Judged]) -> Column:
    """The losses of the samples, batch by batch. Raises NormscopeError where there is no loss."""
    parts = [j.loss for j in judged if j.loss is not None]
    if len(parts) < len(judged):
        raise NormscopeError(
            "it needs a loss, and neither the setup gives one nor does the model return one. Give `'loss': loss_fn`."
        )
    return parts


def _order(batches: int, steps: int, seed: int) -> list[int]:
    """Which batch each step takes: one random order after another."""
    generator = torch.Generator().manual_seed(seed)
    found: list[int] = []
    while len(found) < steps:
        found += torch.randperm(batches, generator=generator).tolist()
    return found[:steps]


def _mean(columns: list[torch.Tensor]) -> float:
    return float(torch.stack([c.mean() for c in columns]).mean())


def _some(batches: Sequence[Given], samples: int) -> list[Given]:
    """The first batches with that many samples, one at least."""
    found: list[Given] = []
    for batch in batches:
        if found and sum(b.samples for b in found) + batch.samples > samples:
            break
        found.append(batch)
    return found

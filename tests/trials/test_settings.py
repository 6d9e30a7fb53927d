"""Learning rates, weight decays and batches, in whatever way a script sets them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import (
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from trials.running import BATCH, SAMPLES, data, fit, loader, net, plain, under


def loss_of(model: nn.Module) -> torch.Tensor:
    x, y = data()
    return nn.functional.cross_entropy(model(x), y)


@pytest.mark.parametrize(("entry", "arm"), [("lr", "lr:x0.5"), ("weight_decay", "wd:x0.5")])
def test_the_factor_gives_what_the_value_itself_would(entry, arm):
    def train(factor: float = 1.0) -> float:
        torch.manual_seed(0)
        model = net()
        words = {"lr": 0.1, "weight_decay": 0.2}
        words[entry] *= factor
        return fit(model, torch.optim.SGD(model.parameters(), momentum=0.9, **words))

    run = under(arm, train)
    assert run.changed > 0
    assert run.metric == under("as-is", lambda: train(0.5)).metric != under("as-is", train).metric


def test_a_schedule_of_absolute_rates_sees_its_own_values():
    seen: list[float] = []

    def train(factor: float = 1.0) -> float:
        torch.manual_seed(0)
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.4 * factor, total_steps=10)
        for _ in range(9):
            loss = loss_of(model)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            seen.append(optimizer.param_groups[0]["lr"])
        return loss.item()

    asis = under("as-is", train).metric
    plain_rates = list(seen)
    seen.clear()
    half = under("lr:x0.5", train).metric
    assert seen == plain_rates, "the script reads the rates that its schedule set"
    assert half == pytest.approx(under("as-is", lambda: train(0.5)).metric, rel=1e-5)
    assert half != asis


def test_lbfgs_with_a_closure():
    def train(rate: float = 0.1) -> float:
        torch.manual_seed(0)
        model = net()
        optimizer = torch.optim.LBFGS(model.parameters(), lr=rate, max_iter=4)

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = loss_of(model)
            loss.backward()
            return loss

        for _ in range(2):
            loss = optimizer.step(closure)
        return loss.item()

    assert under("lr:x0.5", train).metric == under("as-is", lambda: train(0.05)).metric
    assert under("group", train).exchanged == 1


def test_an_optimizer_around_another_is_scaled_once():
    class Around(torch.optim.Optimizer):
        def __init__(self, inner: torch.optim.Optimizer) -> None:
            super().__init__([p for g in inner.param_groups for p in g["params"]], {})
            self.inner, self.param_groups = inner, inner.param_groups

        def step(self) -> None:
            self.inner.step()

    def train(rate: float = 0.1, *, around: bool = True) -> float:
        torch.manual_seed(0)
        model = net()
        inner = torch.optim.SGD(model.parameters(), rate)
        return fit(model, Around(inner) if around else inner)

    assert (
        under("lr:x0.5", train).metric == under("as-is", lambda: train(0.05, around=False)).metric
    )


def test_a_step_that_raises_leaves_the_rate_as_it_was():
    rates: list[float] = []

    def train() -> float:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)

        def closure() -> torch.Tensor:
            raise ArithmeticError

        for _ in range(2):
            try:
                optimizer.step(closure)
            except ArithmeticError:
                rates.append(optimizer.param_groups[0]["lr"])
        fit(model, optimizer)
        return optimizer.param_groups[0]["lr"]

    assert under("lr:x0.5", train).metric == 0.1
    assert rates == [0.05, 0.05], "never twice"


def test_a_gradient_scaler():
    def train() -> float:
        torch.manual_seed(0)
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        scaler = torch.amp.GradScaler("cpu")
        for _ in range(3):
            loss = loss_of(model)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        return loss.item()

    run = under("lr:x0.5", train)
    assert (run.status, run.steps) == ("finished", 3)
    assert run.metric != under("as-is", train).metric


def test_no_weight_decay_to_change():
    def train() -> float:
        model = net()
        return fit(model, torch.optim.SGD(model.parameters(), 0.1))

    run = under("wd:x0", train)
    assert run.status == "not-applicable"
    assert "`weight_decay` other than 0" in run.reason


@pytest.mark.parametrize(
    "words",
    [{"shuffle": True}, {"sampler": "random"}, {"shuffle": True, "drop_last": False}],
    ids=str,
)
def test_batches_of_another_size_and_whole_ones(words):
    sizes: list[int] = []

    def train() -> float:
        data_set = TensorDataset(*(t[:-3] for t in data()))
        given = dict(words)
        if "sampler" in given:
            given["sampler"] = RandomSampler(data_set)
        sizes[:] = [len(x) for x, _ in DataLoader(data_set, BATCH, **given)]
        checked = [len(x) for x, _ in DataLoader(data_set, BATCH)]
        assert checked[-1] == (SAMPLES - 3) % BATCH, "evaluation reads as it did"
        return 0.0

    assert under("as-is", train).status == "finished"
    assert sizes[-1] == (SAMPLES - 3) % BATCH
    assert under("batch:16", train).changed == 1
    assert sizes[0] == 16
    under("drop-last", train)
    assert set(sizes) == {BATCH}


SAMPLERS = {
    "weighted": lambda data_set: WeightedRandomSampler(torch.ones(SAMPLES - 3), SAMPLES - 3),
    "distributed": lambda data_set: DistributedSampler(data_set, 1, 0),
    "subset": lambda data_set: SubsetRandomSampler(range(SAMPLES - 3)),
    "in order": lambda data_set: DistributedSampler(data_set, 1, 0, shuffle=False),
}


@pytest.mark.parametrize(
    ("name", "arm", "changed"),
    [
        ("weighted", "batch:16", 1),
        ("weighted", "drop-last", 1),
        ("distributed", "drop-last", 1),
        ("subset", "batch:16", 1),
        ("subset", "drop-last", 0),
        ("in order", "batch:16", 0),
    ],
)
def test_samplers_that_only_training_has(name, arm, changed):
    sizes: list[int] = []

    def train() -> float:
        data_set = TensorDataset(*(t[:-3] for t in data()))
        sampler = SAMPLERS[name](data_set)
        sizes[:] = [len(x) for x, _ in DataLoader(data_set, BATCH, sampler=sampler)]
        return 0.0

    run = under(arm, train)
    assert run.changed == changed
    assert run.status == ("finished" if changed else "not-applicable")
    whole = {"batch:16": 16, "drop-last": BATCH}[arm] if changed else BATCH
    assert sizes[0] == whole
    assert (sizes[-1] == whole) == (changed == 1 and arm == "drop-last")


def test_batches_cut_by_hand():
    def train() -> float:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        x, y = data()
        for part in torch.randperm(SAMPLES).split(BATCH):
            loss = nn.functional.cross_entropy(model(x[part]), y[part])
            loss.backward()
            optimizer.step()
        return loss.item()

    for arm in ("batch:16", "drop-last"):
        run = under(arm, train)
        assert run.status == "not-applicable"
        assert "by itself" in run.reason


def test_everything_is_as_before_afterwards():
    init, manual_seed, generator = DataLoader.__init__, torch.manual_seed, torch.Generator
    norm = nn.functional.batch_norm
    state = torch.get_rng_state()
    for arm in ("batch:16", "group", "lr:x0.5", "momentum:0.5", "none"):
        under(arm, plain, seed=3)
    assert DataLoader.__init__ is init
    assert (torch.manual_seed, torch.Generator) == (manual_seed, generator)
    assert nn.functional.batch_norm is norm
    assert torch.equal(torch.get_rng_state(), state)
    assert len(next(iter(loader()))[0]) == BATCH

"""normscope's own eyes: each layer is seen as the batch norm that it is, and nothing is found wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import normscope
from normscope.diagnosis import diagnose
from normscope.graph.model import Norm
from normscope.graph.torch import capture
from normscope.nn import (
    BatchNorm,
    BatchRenorm,
    DomainBatchNorm,
    FrozenBatchNorm,
    GhostBatchNorm,
    MaskedBatchNorm,
)
from normscope.probes.population import population
from normscope.probes.replay import batch_norms
from normscope.probes.untouched import untouched
from normscope.record.store import load
from normscope.record.torch.batches import Kept

MAKERS: dict[str, Callable[[int], nn.Module]] = {
    "BatchNorm": BatchNorm,
    # A schedule and a momentum that fit in a run of 130 steps.
    "BatchRenorm": lambda c: BatchRenorm(c, momentum=0.1, warmup=20, r_steps=60, d_steps=60),
    "GhostBatchNorm": lambda c: GhostBatchNorm(c, 16),
    "FrozenBatchNorm": FrozenBatchNorm,
    "MaskedBatchNorm": MaskedBatchNorm,
    "DomainBatchNorm": DomainBatchNorm,
}
every = pytest.mark.parametrize("name", MAKERS)
LENGTH = 24
EVERYTHING = 1e9  # a budget under which nothing is thinned


class Plain(nn.BatchNorm1d):
    """Takes a mask, and lets padding into its statistics all the same."""

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:  # noqa: A002
        return super().forward(input)


class Net(nn.Module):
    """Two convolutions with norms over sequences; a sequence ends where its padding begins."""

    def __init__(self, norm: Callable[[int], nn.Module], *, masked: bool = False) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Conv1d(3, 8, 3, padding=1, bias=False),
            nn.Conv1d(8, 8, 3, padding=1, bias=False),
        )
        self.norm, self.other = norm(8), norm(8)
        self.head = nn.Linear(8, 4)
        self.masked = masked

    def forward(self, x: Tensor) -> Tensor:
        real = x.abs().sum(1) > 0
        for conv, norm in ((self.first, self.norm), (self.second, self.other)):
            x = conv(x)
            x = norm(x, real).relu() if self.masked else norm(x).relu()
        if not self.masked:
            return self.head(x.mean(2))
        return self.head((x * real[:, None]).sum(2) / real.sum(1, keepdim=True))


def batches(*, padded: bool) -> list[tuple[Tensor, Tensor]]:
    """Twelve batches of 64 and a ragged one of 41, four classes by their mean sequence."""
    generator = torch.Generator().manual_seed(0)
    means = (
        torch.randn(4, 3, LENGTH, generator=generator) + 1
    )  # so that zeros behind the end stand out
    made = []
    for n in [64] * 12 + [41]:
        y = torch.randint(0, 4, (n,), generator=generator)
        x = means[y] + torch.randn(n, 3, LENGTH, generator=generator)
        if padded:
            ends = torch.randint(8, LENGTH + 1, (n, 1, 1), generator=generator)
            x = x.where(torch.arange(LENGTH) < ends, torch.zeros(()))
        made.append((x, y))
    return made


def train(model: nn.Module, data: list[tuple[Tensor, Tensor]], epochs: int = 10) -> None:
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        model.train()
        for x, y in data:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        for x, y in data:
            F.cross_entropy(model(x), y)


def made(name: str) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    masked = name in ("MaskedBatchNorm", "Plain")
    data = batches(padded=masked)
    model = Net(MAKERS.get(name, Plain), masked=masked)
    if name == "FrozenBatchNorm":  # fine-tuning starts from a trained network
        pretrained = Net(nn.BatchNorm1d)
        train(pretrained, data, epochs=4)
        model.load_state_dict(pretrained.state_dict())
    return model, data


@every
def test_the_graph_holds_two_batch_norms_each_behind_its_convolution(name: str) -> None:
    model, data = made(name)
    for training in (True, False):
        graph = capture(model.train(training), data[0][:1])
        norms = [n for n in graph if isinstance(n.op, Norm)]
        assert [n.path.split(".")[0] for n in norms] == ["norm", "other"]
        frozen = name == "FrozenBatchNorm"
        assert {(n.op.kind, n.op.batch_stats, n.op.tracks, n.op.affine) for n in norms} == {
            ("batch", training and not frozen, True, True)
        }
        if not frozen:
            assert {n.op.momentum for n in norms} == {0.1}
        assert all(len(n.inputs) == 1 for n in norms)


@every
def test_check_finds_nothing(name: str) -> None:
    model, data = made(name)
    assert normscope.check(model, data[0][0]).findings == ()


@every
def test_a_healthy_run_stays_healthy_and_every_batch_is_counted_once(
    name: str, tmp_path: Path
) -> None:
    model, data = made(name)
    path = tmp_path / "run.nscope"
    with normscope.watch(model, record=path, budget=EVERYTHING):
        train(model, data)
    recording = load(path)
    diagnosis = diagnose(recording)
    loud = [f for f in diagnosis.findings if f.severity != "info"]
    assert loud == []
    assert diagnosis.verdict.status == "healthy"
    assert not {f.code for f in diagnosis.findings} & {"NS306", "NS408", "NS601"}
    assert not recording.events_of("observer-error")
    seen = {x.path: x for x in recording.layers.values()}
    inner = ".norms.0" if name == "DomainBatchNorm" else ""
    steps = 0 if name == "FrozenBatchNorm" else 130
    for path in ("norm", "other"):
        layer = seen[path + inner]
        assert (layer.kind, layer.updates, layer.registered) == ("batch", steps, True)


@pytest.mark.parametrize(
    ("norm", "code"),
    [(FrozenBatchNorm, "NS404"), (lambda c: GhostBatchNorm(c, 2), "NS301")],
    ids=["frozen from scratch", "ghosts of two"],
)
def test_what_is_wrong_with_them_is_found(norm: Any, code: str, tmp_path: Path) -> None:
    path = tmp_path / "run.nscope"
    model = Net(norm)
    with normscope.watch(model, record=path, budget=EVERYTHING):
        train(model, batches(padded=False), epochs=2)
    (found,) = [f for f in diagnose(load(path)).findings if f.severity != "info"]
    assert (found.code, found.layers) == (code, ("norm", "other"))


@every
def test_watching_changes_no_bit(name: str, tmp_path: Path) -> None:
    ends = []
    for watched in (False, True):
        torch.manual_seed(0)
        model, data = made(name)
        with normscope.watch(model, record=tmp_path / "run.nscope") if watched else nullcontext():
            train(model, data, epochs=2)
        ends.append(model.state_dict())
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=0)


@pytest.mark.parametrize(("name", "polluted"), [("Plain", 2), ("MaskedBatchNorm", 0)])
def test_padding_is_measured_where_it_enters_statistics_and_only_there(
    name: str, polluted: int, tmp_path: Path
) -> None:
    model, data = made(name)
    path = tmp_path / "run.nscope"
    with normscope.watch(model, record=path, budget=EVERYTHING):
        train(model, data, epochs=3)
    answers = load(path).measurements.get("padding", [])
    assert sum(len(a.layers) for a in answers) == polluted


def test_probes_ask_all_but_the_frozen() -> None:
    found: dict[str, Any] = {n: len(batch_norms(made(n)[0])) for n in MAKERS}
    assert found == {**dict.fromkeys(MAKERS, 2), "FrozenBatchNorm": 0, "DomainBatchNorm": 4}


def test_recomputed_statistics_leave_padding_out() -> None:
    norm = MaskedBatchNorm(2)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = norm

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return self.norm(x, mask=mask)

    x, mask = torch.randn(6, 2, 5), torch.rand(6, 5) < 0.5
    model = Model()
    with untouched(model):
        found = population(model, [kept(x, mask)], [norm])[norm]
    real = x.movedim(1, -1)[mask].double()
    torch.testing.assert_close(found.mean, real.mean(0))
    torch.testing.assert_close(found.var, real.var(0))


def test_recomputed_statistics_have_no_part_of_the_corrections() -> None:
    """The second layer's input, as batch norm in the first would make it."""
    first, second = (BatchRenorm(2, warmup=0, r_steps=0, d_steps=0) for _ in range(2))
    model = nn.Sequential(first, nn.ReLU(), second)
    first.running_mean.fill_(5.0)  # corrected by this, hardly anything passes the ReLU
    first.num_batches_tracked.fill_(1)
    x = torch.randn(64, 2)
    with untouched(model):
        found = population(model, [kept(x)], [first, second])[second]
    expected = F.batch_norm(x, None, None, training=True).relu().double()
    torch.testing.assert_close(found.mean, expected.mean(0), rtol=1e-4, atol=1e-5)
    assert first.r_max == 3.0


def kept(*args: Tensor) -> Kept:
    return Kept(args, {}, len(args[0]), 0, 0, torch.device("cpu"))

"""Which call of the source built a layer or a loader: the exact one, however it is written."""

from __future__ import annotations

import copy
import gc
import pickle
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from normscope.record.recording import Recording
from normscope.record.written import Place, Written
from record.conftest import Observing

LINES = Path(__file__).read_bytes().splitlines()


def text(place: Place) -> str:
    """What stands there."""
    assert place.line == place.end_line
    return LINES[place.line - 1][place.column : place.end_column].decode()


def built(recording: Recording, path: str, model: int = 0) -> str | None:
    """The call that built the layer at `path`."""
    found = [
        w
        for w in recording.written
        if w.kind in ("norm", "affine")
        and any((m.model, m.path) == (model, path) for m in w.members)
    ]
    assert len(found) <= 1
    return text(found[0].place) if found else None


def step(model: nn.Module, x: torch.Tensor) -> None:
    model(x).square().mean().backward()


class Own(nn.BatchNorm1d):
    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-3)


class Plain(nn.BatchNorm1d):
    pass


def pair(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width))


def test_several_calls_in_a_line(observed: Observing) -> None:
    with observed() as run:
        a, b = nn.BatchNorm1d(4), nn.BatchNorm1d(4, 0.8)
        step(nn.Sequential(nn.Linear(4, 4, bias=False), a, nn.Linear(4, 4), b), torch.randn(8, 4))
    r = run.recording
    assert built(r, "1") == "nn.BatchNorm1d(4)"
    assert built(r, "3") == "nn.BatchNorm1d(4, 0.8)"
    assert built(r, "0") == "nn.Linear(4, 4, bias=False)"
    assert built(r, "2") == "nn.Linear(4, 4)"


def test_a_factory_in_a_comprehension_is_one_call(observed: Observing) -> None:
    with observed() as run:
        step(nn.Sequential(*[pair(4) for _ in range(3)]), torch.randn(8, 4))
    r = run.recording
    assert {built(r, f"{i}.1") for i in range(3)} == {"nn.BatchNorm1d(width)"}
    assert {built(r, f"{i}.0") for i in range(3)} == {"nn.Linear(width, width)"}


def test_subclasses_partials_and_names(observed: Observing) -> None:
    norm = partial(nn.BatchNorm1d, momentum=0.9)
    with observed() as run:
        step(nn.Sequential(Own(4), Plain(4), norm(4)), torch.randn(8, 4))
    r = run.recording
    assert built(r, "0") == "super().__init__(width, eps=1e-3)"
    assert built(r, "1") == "Plain(4)"
    assert built(r, "2") == "norm(4)"
    [own] = [w for w in r.written if text(w.place).startswith("super")]
    assert own.parameters[:4] == ("num_features", "eps", "momentum", "affine")
    assert own.enters == "_BatchNorm.__init__"


def test_what_an_iteration_builds_has_no_call(observed: Observing) -> None:
    with observed() as run:
        norms = nn.ModuleList(map(nn.BatchNorm1d, (4, 4)))
        made = [m for m in map(nn.BatchNorm1d, (4,))]  # noqa: C416
        step(nn.Sequential(*norms, *made), torch.randn(8, 4))
    r = run.recording
    assert built(r, "0") == "nn.ModuleList(map(nn.BatchNorm1d, (4, 4)))"
    [outer] = [w for w in r.written if w.kind == "norm"]
    assert "eps" not in outer.parameters
    assert built(r, "2") is None


def test_lazy_and_meta_modules(observed: Observing) -> None:
    with observed() as run:
        lazy = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d())
        step(lazy, torch.randn(8, 3))
        with torch.device("meta"):
            empty = nn.Sequential(nn.BatchNorm1d(4))
        model = empty.to_empty(device="cpu")
        model[0].reset_parameters()
        step(model, torch.randn(8, 4))
    r = run.recording
    assert built(r, "1") == "nn.LazyBatchNorm1d()"
    assert built(r, "0", model=1) == "nn.BatchNorm1d(4)"


def test_copies_and_unpickled_models_were_not_built(observed: Observing) -> None:
    with observed() as run:
        model = pair(4)
        for other in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            step(other, torch.randn(8, 4))
    r = run.recording
    assert len(r.models) == 3
    assert built(r, "1") == "nn.BatchNorm1d(width)"
    assert built(r, "1", model=1) is None
    assert built(r, "1", model=2) is None


def test_generated_code_has_no_place(observed: Observing) -> None:
    with observed() as run:
        space: dict[str, object] = {"nn": nn}
        exec("model = nn.Sequential(nn.BatchNorm1d(4))", space)
        model = space["model"]
        assert isinstance(model, nn.Module)
        step(model, torch.randn(8, 4))
    r = run.recording
    assert all(w.place.file == "<string>" for w in r.written if w.kind == "norm")
    assert "<string>" not in r.sources


def test_modules_are_let_go(observed: Observing) -> None:
    with observed() as run:
        for _ in range(50):
            pair(3)
        gc.collect()
        assert len(run.observer.places._made) == 0


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(4))
        self.register_buffer("running_var", torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, training=True)  # type: ignore[arg-type]


def test_functions_that_the_own_code_calls(observed: Observing) -> None:
    with observed() as run:
        step(nn.Sequential(nn.Linear(4, 4), Functional(), nn.BatchNorm1d(4)), torch.randn(8, 4))
    [found] = [w for w in run.recording.written if w.kind == "function"]
    assert text(found.place).startswith("F.batch_norm(x, self.running_mean")
    assert (found.owner, found.parameters[5]) == ("self", "training")
    assert [m.path for m in found.members] == ["1"]


def test_forwards_are_found_by_the_call_of_the_model(observed: Observing) -> None:
    with observed() as run:
        net, x = pair(4), torch.randn(8, 4)
        loss = F.mse_loss(net(x), net(x) + 1)
        loss.backward()
    forwards = [w for w in run.recording.written if w.kind == "forward"]
    assert [text(w.place) for w in forwards] == ["net(x)"]


def loader_of(recording: Recording) -> Written:
    [found] = [w for w in recording.written if w.kind == "loader" and w.steps]
    return found


def train(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor) -> None:
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()


def test_the_loader_that_feeds_the_training(observed: Observing) -> None:
    data = TensorDataset(torch.randn(20, 4))
    with observed() as run:
        model = pair(4)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        first, second = DataLoader(data, 8, shuffle=True), DataLoader(data, 5)
        for _ in range(2):
            for n, (x,) in enumerate(first):
                train(model, optimizer, x)
                if n == 1:
                    with torch.no_grad():
                        for (z,) in second:
                            model(z)
    found = loader_of(run.recording)
    assert text(found.place) == "DataLoader(data, 8, shuffle=True)"
    assert (found.steps, found.passes, found.idle) == (6, 2, 0)
    assert (found.batch_size, found.drop_last, found.shuffles) == (8, False, True)


def test_a_call_that_builds_loaders_for_both(observed: Observing) -> None:
    data = TensorDataset(torch.randn(20, 4))

    def loader() -> DataLoader[tuple[torch.Tensor, ...]]:
        return DataLoader(data, 8)

    with observed() as run:
        model = pair(4)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for (x,) in loader():
            train(model, optimizer, x)
        with torch.no_grad():
            for (x,) in loader():
                model(x)
    found = loader_of(run.recording)
    assert (found.passes, found.idle, found.shuffles) == (2, 1, False)


class Renumbered(DataLoader[tuple[torch.Tensor, ...]]):
    """A loader whose attributes mean something else."""

    @property
    def batch_size(self) -> str:  # type: ignore[override]
        return "many"

    @batch_size.setter
    def batch_size(self, value: int) -> None: ...


def test_a_loader_of_the_users_own(observed: Observing) -> None:
    with observed() as run:
        model = pair(4)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        batches = [torch.arange(0, 10), torch.arange(10, 20)]
        for (x,) in Renumbered(TensorDataset(torch.randn(20, 4)), batch_sampler=batches):  # type: ignore[arg-type]
            train(model, optimizer, x)
    found = loader_of(run.recording)
    assert (found.steps, found.batch_size, found.drop_last) == (2, None, False)
    assert run.recording.events_of("observer-error") == []

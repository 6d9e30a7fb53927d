"""Checkpoints: read safely, matched by name, and everything else is one clear line."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from normscope.checking import check_target
from normscope.checking.weights import load_into, read
from normscope.cli import main
from normscope.errors import NormscopeError


def network():
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))


@pytest.fixture
def trained():
    torch.manual_seed(0)
    model = network()
    model(torch.randn(32, 4) + 3)
    return model


def saved(value, tmp_path, name="net.pt"):
    path = tmp_path / name
    torch.save(value, path)
    return path


def parameters(model):
    return {k: p.detach() for k, p in model.named_parameters()}


def test_a_whole_state_dict(trained, tmp_path):
    model = network()
    assert list(load_into(model, saved(trained.state_dict(), tmp_path)).values()) == ["complete"]
    assert torch.equal(model[1].running_mean, trained[1].running_mean)


@pytest.mark.parametrize(
    "wrap",
    [lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"a": {"model": s}}],
    ids=["beside", "nested"],
)
def test_inside_what_a_trainer_saves(wrap, trained, tmp_path):
    assert read(saved(wrap(trained.state_dict()), tmp_path)).keys() == trained.state_dict().keys()


def test_parameters_alone(trained, tmp_path):
    given = load_into(network(), saved(parameters(trained), tmp_path))
    assert list(given.values()) == ["parameters"]


def test_another_prefix(trained, tmp_path):
    state = {f"module.{k}": v for k, v in trained.state_dict().items()}
    assert list(load_into(network(), saved(state, tmp_path)).values()) == ["misnamed"]


def test_safetensors(trained, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "net.safetensors"
    safetensors.save_file(trained.state_dict(), path)
    assert read(path).keys() == trained.state_dict().keys()


class Runs:
    def __reduce__(self):
        return (open, ("was_run", "w"))


def test_a_pickle_that_wants_to_run_code_is_refused_unopened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = saved({"weight": Runs()}, tmp_path)
    with pytest.raises(NormscopeError, match="wants to run code"):
        read(path)
    path.write_bytes(pickle.dumps(Runs()))
    with pytest.raises(NormscopeError):
        read(path)
    assert not (tmp_path / "was_run").exists()


def damaged(tmp_path, trained):
    whole = saved(trained.state_dict(), tmp_path, "whole.pt").read_bytes()
    return {
        "empty": b"",
        "text": b"not a checkpoint at all",
        "cut": whole[: len(whole) // 2],
        "zip": b"PK\x03\x04" + b"\0" * 60,
    }


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "zip"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_damaged_and_foreign_files(kind, suffix, trained, tmp_path):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(damaged(tmp_path, trained)[kind])
    with pytest.raises(NormscopeError) as error:
        read(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("value", [[1, 2], torch.zeros(3), {"epoch": 3}])
def test_a_file_without_a_state_dict(value, tmp_path):
    with pytest.raises(NormscopeError, match="holds no state dict"):
        read(saved(value, tmp_path))


def test_shapes_and_names_that_do_not_fit(trained, tmp_path):
    other = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6))
    with pytest.raises(NormscopeError, match=r"does not fit the model: .*size mismatch"):
        load_into(other, saved(trained.state_dict(), tmp_path))
    with pytest.raises(NormscopeError, match="has no name in common"):
        load_into(network(), saved({"head.weight": torch.zeros(2)}, tmp_path))


def test_no_such_file(tmp_path):
    with pytest.raises(NormscopeError, match="There is no checkpoint"):
        read(tmp_path / "no.pt")


FILE = """
from torch import nn
def net(): return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
"""


@pytest.mark.parametrize(
    ("keep", "codes"),
    [
        (lambda m: m.state_dict(), set()),
        (parameters, {"NS410"}),
        (lambda m: {f"module.{k}": v for k, v in m.state_dict().items()}, {"NS410"}),
        (lambda m: m.state_dict() | {"1.running_var": torch.full((6,), torch.nan)}, {"NS501"}),
    ],
    ids=["whole", "alone", "prefixed", "lost"],
)
def test_what_a_checkpoint_brings_is_judged(keep, codes, trained, tmp_path):
    (tmp_path / "weighed_net.py").write_text(FILE)
    path = saved(keep(trained), tmp_path)
    diagnosis = check_target(f"{tmp_path / 'weighed_net.py'}:net", weights=path)
    assert {f.code for f in diagnosis.findings if f.severity == "error"} == codes


def test_the_option(trained, tmp_path, capsys):
    (tmp_path / "weighed_net.py").write_text(FILE)
    words = ["check", f"{tmp_path / 'weighed_net.py'}:net", "--weights"]
    assert main([*words, str(saved(trained.state_dict(), tmp_path))]) == 0
    assert main([*words, str(saved(parameters(trained), tmp_path))]) == 1
    assert main([*words, str(tmp_path / "no.pt")]) == 2
    assert capsys.readouterr().err.startswith("normscope: There is no checkpoint")

"""`with normscope.watch(model) as run:` in the user's own code, and what it leaves behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import normscope
from normscope.errors import NormscopeError
from normscope.record.store import load
from normscope.record.torch import active
from record.loops import Net, evaluate, sgd, train


def test_a_block_is_observed_and_diagnosed(tmp_path: Path) -> None:
    net = Net()
    optimizer = sgd(net)
    train(net, optimizer, 2)  # before the block: not seen
    with normscope.watch(net, record=tmp_path / "mine.nscope") as run:
        assert active() is not None
        for _ in range(3):
            train(net, optimizer, 4)
            evaluate(net, 2)
    assert active() is None
    assert run.path == tmp_path / "mine.nscope"
    r = load(run.path)
    assert (r.target, r.status, r.steps) == ("watch", "exit 0", 12)
    assert r.started > 1.7e9
    assert r.layers[0].fresh_at_start is False
    diagnosis = run.diagnose()
    assert diagnosis.recording.steps == 12
    assert diagnosis.verdict.status in ("healthy", "suspect", "failing")
    assert run.diagnose().verdict == diagnosis.verdict


def test_the_diagnosis_shows_itself_in_a_notebook(tmp_path: Path) -> None:
    net = Net()
    with normscope.watch(net, record=tmp_path / "r.nscope") as run:
        train(net, sgd(net), 3)
    page = run._repr_html_()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "body.1" in page
    diagnosis = run.diagnose()
    assert diagnosis._repr_html_() == page
    assert str(diagnosis).startswith("Verdict")
    assert "body.1" in str(diagnosis)


def test_without_a_path_the_recording_is_a_new_file_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    paths = []
    for _ in range(2):
        with normscope.watch() as run:
            net = Net()
            train(net, sgd(net), 1)
        paths.append(run.path)
    assert len(set(paths)) == 2
    assert all(p.is_relative_to(tmp_path) and load(p).steps == 1 for p in paths)


def test_a_second_block_starts_afresh(tmp_path: Path) -> None:
    net = Net()
    optimizer = sgd(net)
    for name, steps in (("a", 5), ("b", 2)):
        with normscope.watch(net, record=tmp_path / name):
            train(net, optimizer, steps)
    assert [load(tmp_path / n).steps for n in ("a", "b")] == [5, 2]
    assert load(tmp_path / "b").layers[0].updates == 2


def test_an_exception_passes_unchanged_and_what_was_seen_is_kept(tmp_path: Path) -> None:
    net = Net()
    mine = KeyError("mine")
    with (  # noqa: PT012
        pytest.raises(KeyError) as raised,
        normscope.watch(net, record=tmp_path / "r.nscope") as run,
    ):
        train(net, sgd(net), 3)
        raise mine
    assert raised.value is mine
    assert active() is None
    r = load(run.path)
    assert (r.steps, r.status) == (3, "exception KeyError: 'mine'")
    assert r.measurements == {}  # nothing is asked of a model that failed
    assert run.diagnose().recording.status == r.status


def test_an_interrupt_is_an_end_like_another(tmp_path: Path) -> None:
    net = Net()
    with (  # noqa: PT012
        pytest.raises(KeyboardInterrupt),
        normscope.watch(net, record=tmp_path / "r.nscope") as run,
    ):
        train(net, sgd(net), 2)
        raise KeyboardInterrupt
    assert load(run.path).status.startswith("exception KeyboardInterrupt")
    assert load(run.path).steps == 2


def test_use_after_the_block_is_not_seen_and_unharmed(tmp_path: Path) -> None:
    net = Net()
    optimizer = sgd(net)
    with normscope.watch(net, record=tmp_path / "r.nscope") as run:
        train(net, optimizer, 2)
    before = run.path.read_bytes()
    train(net, optimizer, 3)
    evaluate(net, 1)
    assert int(net.last.num_batches_tracked) == 5
    assert run.path.read_bytes() == before
    assert load(run.path).steps == 2


def test_a_model_made_inside_lives_until_the_probes_have_asked(tmp_path: Path) -> None:
    def inside() -> None:
        net = Net()
        optimizer = sgd(net)
        for _ in range(8):
            train(net, optimizer, 1, 32)

    with normscope.watch(record=tmp_path / "r.nscope", budget=1.0) as run:
        inside()
    [gap] = load(run.path).measurements["gap"]
    assert gap.model == 0


def test_probes_leave_the_model_as_it_was(tmp_path: Path) -> None:
    net = Net()
    optimizer = sgd(net)
    with normscope.watch(net, record=tmp_path / "r.nscope", budget=1.0) as run:
        for _ in range(8):
            train(net, optimizer, 1, 32)
        net.body.eval()
        state = {k: v.clone() for k, v in net.state_dict().items()}
        modes = [m.training for m in net.modules()]
        grads = [p.grad.clone() for p in net.parameters() if p.grad is not None]
        chance = torch.get_rng_state()
    assert "gap" in load(run.path).measurements
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert [m.training for m in net.modules()] == modes
    now = [p.grad for p in net.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(grads, now, strict=True))
    assert torch.equal(torch.get_rng_state(), chance)


def test_a_foreign_file_is_refused_before_anything_is_observed(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes, which are longer than a header of seventy-two bytes in all, so.")
    with (
        pytest.raises(NormscopeError, match="is not a normscope recording"),
        normscope.watch(record=path),
    ):
        pytest.fail("the block must not run")
    assert active() is None
    assert path.read_text().startswith("my notes")


def test_nothing_trained_is_not_healthy_by_mistake(tmp_path: Path) -> None:
    with normscope.watch(record=tmp_path / "r.nscope") as run:
        sum(range(10))
    r = load(run.path)
    assert (r.steps, r.models, r.spans) == (0, {}, [])
    assert run.diagnose().verdict.status != "failing"


def test_a_block_inside_another_belongs_to_it(tmp_path: Path) -> None:
    net = Net()
    optimizer = sgd(net)
    with normscope.watch(net, record=tmp_path / "outer") as outer:
        train(net, optimizer, 5)
        with normscope.watch(net, record=tmp_path / "inner") as inner:
            train(net, optimizer, 4)
        assert load(inner.path).steps == 9
        train(net, optimizer, 3)
        evaluate(net, 2)
    assert inner.path == outer.path == tmp_path / "outer"
    r = load(outer.path)
    assert (r.steps, r.status) == (12, "exit 0")
    assert [s.forwards for s in r.spans] == [12, 2]


@pytest.mark.parametrize(("code", "status"), [(None, "exit 0"), (3, "exit 3")])
def test_leaving_the_process_is_an_exit(tmp_path: Path, code: int | None, status: str) -> None:
    net = Net()
    with (  # noqa: PT012
        pytest.raises(SystemExit),
        normscope.watch(net, record=tmp_path / "r.nscope") as run,
    ):
        train(net, sgd(net), 2)
        sys.exit(code)
    assert load(run.path).status == status
    assert load(run.path).steps == 2


BOUND_BEFORE = """
import sys, tempfile
from pathlib import Path
import torch
from torch import nn
from torch.nn.functional import batch_norm, cross_entropy

where = Path(tempfile.mkdtemp())
import normscope
from normscope.record.store import load

net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
mean, var = torch.zeros(4), torch.ones(4)
with normscope.watch(net, record=where / "r.nscope"):
    for _ in range(3):
        x, y = torch.randn(16, 4), torch.randint(3, (16,))
        loss = cross_entropy(net(batch_norm(x, mean, var, training=True)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    active = sys.modules["normscope.record.torch"].active()
    print([b.loss for b in active.kept.batches[1]])
r = load(where / "r.nscope")
assert not r.events_of("observer-error"), r.events
print(r.steps, [m.name for m in r.models.values()])
print(cross_entropy is nn.functional.cross_entropy)
"""


def test_functions_that_the_script_bound_before_are_seen() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BOUND_BEFORE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == str(["cross_entropy"] * 3)
    assert said[1:] == ["3 ['functions', 'Sequential']", "True"]


def test_a_working_directory_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    script = """
import os
import torch
os.chdir("gone")
os.rmdir(os.getcwd())
from normscope.graph.torch.location import shown
print(shown("/somewhere/train.py"))
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("/somewhere/train.py\n", "")

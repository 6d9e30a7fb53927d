"""Asking a setup: the model stays as it is, answers are kept, refusals are told."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import normscope
from normscope.errors import NormscopeError
from normscope.probes.setup import Setup
from normscope.probing.asking import Examination
from normscope.probing.questions import QUESTIONS, Question, chosen
from normscope.record.store import load


def stale(momentum=0.001, steps=40):
    """A net whose running statistics have hardly begun to move, and its data."""
    torch.manual_seed(0)
    x = torch.randn(640, 8) * 3 + 2
    y = (x[:, 0] > 2).long()
    model = nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16, momentum=momentum), nn.ReLU(), nn.Linear(16, 2)
    )
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for i in range(steps):
        at = torch.arange(32 * i, 32 * i + 32) % 512
        loss = nn.functional.cross_entropy(model(x[at]), y[at])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    train = [(x[i : i + 32], y[i : i + 32]) for i in range(0, 512, 32)]
    return Setup(
        model=model, train=train, held_out=[(x[512:], y[512:])], loss=nn.CrossEntropyLoss()
    )


def state(model):
    return {k: v.clone() for k, v in model.state_dict().items()} | {
        f"mode {n}": torch.tensor(m.training) for n, m in model.named_modules()
    }


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in one.items())


def test_stale_statistics_are_found_and_told_from_generalization():
    diagnosis = normscope.probe(stale(), "gap")
    assert diagnosis.verdict.primary == "NS408"
    [gap] = diagnosis.recording.measurements["gap"]
    assert gap.stale.value > 4 * gap.stale.noise
    assert abs(gap.generalization.value) < gap.stale.value
    assert gap.generalization.value == pytest.approx(gap.held_out.value - gap.running.value)


def test_a_healthy_model_is_acquitted():
    diagnosis = normscope.probe(stale(momentum=0.1, steps=200), "gap", "signal")
    assert diagnosis.verdict.status == "healthy"


def test_the_model_is_as_before_whatever_was_asked():
    setup = stale(steps=3)
    setup.model[2].eval()
    before = state(setup.model)
    random = torch.get_rng_state()
    normscope.probe(setup, seconds=5)
    assert same(before, state(setup.model))
    assert torch.equal(random, torch.get_rng_state())
    assert all(p.grad is None or p.requires_grad for p in setup.model.parameters())


@pytest.mark.parametrize("raised", [KeyboardInterrupt, RuntimeError])
def test_what_ends_a_probe_early_leaves_the_model_and_earlier_answers(raised, tmp_path):
    setup = stale(steps=3)
    before = state(setup.model)
    calls = []

    def loss(output, target):
        calls.append(1)
        if len(calls) > 25:
            raise raised("enough")
        return (output[:, 0] - target).square().mean()

    broken = Setup(model=setup.model, train=setup.train, loss=loss)
    file = tmp_path / "asked.nscope"
    with Examination(broken, record=file) as examination:
        assert examination.ask(QUESTIONS["signal"], 5)
        if raised is KeyboardInterrupt:
            with pytest.raises(KeyboardInterrupt):
                examination.ask(QUESTIONS["gap"], 5)
        else:
            assert not examination.ask(QUESTIONS["gap"], 5)
    assert same(before, state(setup.model))
    kept = load(file)
    assert "signal" in kept.measurements
    assert "gap" not in kept.measurements
    told = [e.detail for e in kept.events_of("not-probed")]
    assert told == (
        [] if raised is KeyboardInterrupt else ["gap: asking it raised RuntimeError: enough"]
    )


def test_answers_come_back_from_the_file(tmp_path):
    file = tmp_path / "asked.nscope"
    diagnosis = normscope.probe(stale(), "gap", record=file)
    kept = load(file)
    assert kept.measurements == diagnosis.recording.measurements
    assert kept.status == "probed"
    assert len(kept.graphs) == 2
    assert kept.channels[0].population_mean == pytest.approx(
        diagnosis.recording.channels[0].population_mean
    )
    assert normscope.diagnose(kept).verdict == diagnosis.verdict


def test_a_probe_that_refuses_is_told():
    setup = Setup(model=nn.Sequential(nn.Linear(3, 2)), train=[torch.randn(8, 3)] * 3)
    diagnosis = normscope.probe(setup, "gap")
    assert diagnosis.verdict.status in ("healthy", "not_evaluated")
    assert any("gap: it has no batch norm module" in n for n in diagnosis.coverage.notes)


def test_a_forward_of_the_users_own_is_followed_to_the_model():
    setup = stale(steps=3)
    batches = [{"image": x, "label": y} for x, y in setup.train]
    with Examination(
        Setup(model=setup.model, train=batches, forward=lambda m, b: m(b["image"]))
    ) as examination:
        assert len(examination.recording.graphs) == 2


def test_a_model_whose_graph_cannot_be_had_is_asked_all_the_same():
    setup = stale(steps=3)

    class Fussy(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = copy.deepcopy(setup.model)

        def forward(self, x):
            if self.training and not any(m.training is False for m in self.modules()):
                raise RuntimeError("not in training mode")
            return self.net(x)

    diagnosis = normscope.probe(Setup(model=Fussy(), train=setup.train), "signal")
    assert "signal" in diagnosis.recording.measurements
    assert any("not-captured" in note for note in diagnosis.coverage.notes)


def test_questions_are_chosen_by_name():
    assert chosen(()) == tuple(QUESTIONS.values())
    assert [q.name for q in chosen(["signal", "gap", "signal"])] == ["signal", "gap"]
    with pytest.raises(NormscopeError, match=r"no probe `gpa`\. Did you mean `gap`"):
        chosen(["gpa"])


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=lambda q: q.name)
def test_every_question_has_an_end_and_a_place(question: Question):
    assert question.what.endswith("?")
    assert callable(question.ask)

"""The probes of batch sizes and of regularizers on digits, as a user types them."""

from __future__ import annotations

import json

import pytest

from normscope.cli import main
from normscope.record.store import load
from normscope.report.probes import sentence

FILE = """
import torch
from sklearn.datasets import load_digits
from torch import nn

def setup():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(x))
    x, y = torch.tensor(x, dtype=torch.float32)[order] / 16, torch.tensor(y)[order]
    model = nn.Sequential(
        nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10),
    )
    train = [(x[i : i + 32], y[i : i + 32]) for i in range(0, 512, 32)]
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for a, b in train * 4:
        loss = nn.functional.cross_entropy(model(a), b)
        optimizer.zero_grad(); loss.backward(); optimizer.step()
    return {
        "model": model, "train": train, "held_out": [(x[1024:], y[1024:])], "loss": nn.CrossEntropyLoss(),
        "weight_decay": 1e-4,
    }

def long_sentences():
    made = setup()
    x, y = made["train"][0]
    return made | {"train": [(x, y), (torch.cat([x, x], 1), y)], "held_out": None, "forward": lambda m, b: m(b[0][:, :64])}
"""


@pytest.fixture
def probe(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)

    def ask(*words):
        code = main(["probe", *words, "--format", "json", "--output", "it.json"])
        assert code in (0, 1), capsys.readouterr().err
        return json.loads((tmp_path / "it.json").read_text()), load(tmp_path / "mine.nscope")

    return ask


def test_batches_of_two_bend_the_gradient_and_of_32_do_not(probe):
    report, recording = probe("batch-size", "mine.py:setup", "--seconds", "600")
    [answer] = recording.measurements["batch_size"]
    by_size = {s.size: s for s in answer.sizes}
    assert by_size[4].bias.low > by_size[32].bias.high
    assert by_size[32].bias.high < 0.5
    assert by_size[2].noise > 10 * by_size[32].noise
    assert answer.safe in (4, 8, 16)
    assert all(max(o.bias) < 1e-3 for o in answer.replaced)
    [told] = report["probes"]
    assert told["name"] == "batch_size"
    assert f"smallest safe batch for Sequential now is {answer.safe}" in told["sentence"]
    assert told["sentence"] == sentence("batch_size", answer)


def test_healthy_regularizers_are_told_and_not_blamed(probe):
    report, recording = probe("regularization", "mine.py:setup", "--seconds", "600")
    [answer] = recording.measurements["regularization"]
    assert {e.regularizer for e in answer.effects} <= {"dropout", "batch noise", "weight decay"}
    assert answer.held_out_samples == 773
    assert "Training loss of Sequential" in report["probes"][0]["sentence"]
    assert "NS605" not in {f["code"] for f in report["findings"]}


def test_batches_that_cannot_be_cut_anew_are_told(probe):
    _, recording = probe("batch_size", "mine.py:long_sentences", "--seconds", "600")
    assert "batch_size" not in recording.measurements
    told = "the samples of item 0 of a batch have different shapes, (128,) and (64,)"
    assert told in recording.events[-1].detail


def test_a_page_shows_both(probe, tmp_path):
    main(["probe", "batch_size", "regularization", "mine.py:setup", "--seconds", "600", "--format", "html", "--output", "it.html"])  # fmt: skip
    page = (tmp_path / "it.html").read_text()
    assert "How small a batch may be: Sequential" in page
    assert "What regularizers cost: Sequential" in page

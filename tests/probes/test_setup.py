"""What a user hands over to be asked about, and how its losses are judged by sample."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from normscope.errors import NormscopeError
from normscope.probes.criteria import known, per_sample
from normscope.probes.judgement import judge
from normscope.probes.replay import respond
from normscope.probes.setup import Setup, prepared, setup_of

MODEL = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
DATA = [(torch.randn(8, 3), torch.randint(2, (8,))) for _ in range(4)]


@dataclass
class Mine:
    model: nn.Module
    train: list[object]
    loss: nn.Module | None = None


def test_a_setup_comes_as_itself_a_mapping_or_a_dataclass():
    setup = Setup(model=MODEL, train=DATA)
    assert setup_of(setup) is setup
    assert setup_of({"model": MODEL, "train": DATA}) == setup
    assert setup_of(Mine(MODEL, DATA)) == setup


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (None, "gives a NoneType, but a dict or a dataclass"),
        ({"model": MODEL}, "gives no `train`"),
        ({"train": DATA}, "gives no `model`"),
        ({"model": MODEL, "trian": DATA}, "`trian`, which is not known. Did you mean `train`"),
        ({"model": MODEL, "loader": DATA}, "`loader`, which is not known. Did you mean `train`"),
        (
            {"model": MODEL, "criterion": len},
            "`criterion`, which is not known. Did you mean `loss`",
        ),
        ({"model": "resnet", "train": DATA}, "gives a str as `model`"),
    ],
)
def test_what_is_no_setup_is_told_in_one_line(made, told):
    with pytest.raises(NormscopeError, match=told):
        setup_of(made)


@pytest.mark.parametrize("train", [[], list])
def test_a_loader_without_batches_is_refused(train):
    with pytest.raises(NormscopeError, match="`train` gives no batch"):
        prepared(Setup(model=MODEL, train=train))


def test_a_loader_that_is_none_is_refused():
    with pytest.raises(NormscopeError, match="`train` is a int"):
        prepared(Setup(model=MODEL, train=3))


def test_no_more_samples_are_taken_than_asked_for():
    asked = prepared(Setup(model=MODEL, train=(b for b in DATA)), samples=20)
    assert [b.samples for b in asked.train] == [8, 8, 8]
    assert asked.held_out == []


def test_a_loss_needs_a_target():
    with pytest.raises(NormscopeError, match="which part of a batch is its target"):
        prepared(Setup(model=MODEL, train=[x for x, _ in DATA], loss=F.cross_entropy))


def test_norms_have_the_numbers_and_paths_of_the_check():
    asked = prepared(Setup(model=MODEL, train=DATA))
    assert asked.ids == {MODEL[1]: 0}
    assert asked.paths == {MODEL[1]: "1"}


@pytest.mark.parametrize(
    ("criterion", "name", "options"),
    [
        (nn.CrossEntropyLoss(label_smoothing=0.1), "cross_entropy", {"label_smoothing": 0.1}),
        (nn.SmoothL1Loss(beta=0.5, reduction="sum"), "smooth_l1_loss", {"beta": 0.5}),
        (F.mse_loss, "mse_loss", {}),
    ],
)
def test_losses_of_torch_are_known_however_they_are_written(criterion, name, options):
    found, kwargs = known(criterion)
    assert found == name
    assert options.items() <= kwargs.items()


def test_a_subclass_or_another_function_of_that_name_is_the_users_own():
    class Mine(nn.CrossEntropyLoss):
        pass

    def mse_loss(output, target):
        return (output - target).abs().mean()

    assert known(Mine()) == (None, {})
    assert known(mse_loss) == (None, {})


def custom(output, target):
    return (output[:, 0] - target).square().mean()


def reducible(output, target, reduction="mean"):
    each = (output[:, 0] - target).square()
    return each if reduction == "none" else each.mean()


class Module(nn.MSELoss):
    def forward(self, output, target):
        return super().forward(output[:, 0], target.float())


@pytest.mark.parametrize(
    ("criterion", "values"),
    [(custom, 1), (reducible, 8), (Module(), 8), (Module(reduction="sum"), 8)],
)
def test_a_criterion_of_the_users_own_is_judged_as_finely_as_it_can(criterion, values):
    x, y = DATA[0]
    output = MODEL.eval()(x).detach()
    each = per_sample(criterion, output, y, 8)
    assert each.shape == (values,)
    assert float(each.mean()) == pytest.approx(float(custom(output, y)), rel=1e-6)
    assert getattr(criterion, "reduction", "mean") in ("mean", "sum")  # left as it was


def test_metrics_and_forwards_of_the_users_own_are_used():
    batches = [{"image": x, "label": y, "more": y} for x, y in DATA]
    setup = Setup(
        model=MODEL.eval(),
        train=batches,
        loss=custom,
        metric=lambda output, target: (output.argmax(1) == target).float(),
        forward=lambda model, batch: model(batch["image"]),
        target=lambda batch: batch["label"],
    )
    batch = prepared(setup).train[0]
    judged = judge(batch, respond(MODEL, batch))
    output = MODEL(DATA[0][0]).detach()
    assert judged.loss is not None
    assert judged.metric is not None
    assert float(judged.loss) == pytest.approx(float(custom(output, DATA[0][1])), rel=1e-6)
    assert judged.metric.tolist() == (output.argmax(1) == DATA[0][1]).double().tolist()
    assert batch.samples == 8


def test_reading_a_shuffled_loader_draws_nothing_in_the_end():
    data = torch.utils.data.TensorDataset(torch.randn(64, 3))
    loader = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    prepared(Setup(model=MODEL, train=loader, held_out=loader, domains={"other": loader}))
    assert torch.equal(before, torch.get_rng_state())

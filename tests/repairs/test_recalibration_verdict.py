"""With a loss: measured before and after on other batches, kept where it is better."""

import pytest
import torch
from torch import nn

from normscope.errors import NormscopeError
from normscope.repairs import recalibrate
from repairs.models import mlp


def trained(seed=0):
    """A classifier of two clouds, with its batches; its statistics are right."""
    torch.manual_seed(seed)
    model = mlp(0.0).train()
    y = torch.randint(2, (1024,))
    x = torch.randn(1024, 4) + 1.5 * y[:, None]
    batches = [*zip(x.split(32), y.split(32), strict=True)]
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(3):
        for a, b in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(a), b).backward()
            optimizer.step()
    return model, batches


def test_stale_statistics_are_replaced_and_the_gain_is_told():
    model, batches = trained()
    model[1].running_mean.add_(2.0)
    model.eval()
    x, y = (torch.cat(t) for t in zip(*batches, strict=True))
    with torch.no_grad():
        before = float(nn.functional.cross_entropy(model(x), y))
    certificate = recalibrate(model, batches, loss=nn.CrossEntropyLoss(), keep="better")
    with torch.no_grad():
        after = float(nn.functional.cross_entropy(model(x), y))
    score = certificate.score
    assert certificate.kept
    assert score.unit == "nats"
    assert score.before == pytest.approx(before, rel=1e-5)
    assert score.after == pytest.approx(after, rel=0.01)
    assert score.gain == pytest.approx(score.before - score.after)
    assert score.gain > 10 * score.noise
    assert f"gain {score.gain:.2g}" in certificate.text()


def test_right_statistics_are_kept_as_they_are_in_nearly_all_cases():
    kept = 0
    for seed in range(10):
        model, batches = trained(seed)
        recalibrate(model, batches)
        kept += recalibrate(model, batches, loss=nn.CrossEntropyLoss(), keep="better").kept
    assert kept <= 1


def test_always_keeps_what_a_loss_says_against():
    model, batches = trained()
    moved = [(x + 3, y) for x, y in batches]
    certificate = recalibrate(model, moved, loss=nn.CrossEntropyLoss())
    assert certificate.kept
    assert certificate.score is not None
    assert "taken back" not in certificate.text()


def test_statistics_that_are_not_numbers_are_worse_than_any():
    model, batches = trained()
    model[1].running_var.fill_(float("nan"))
    certificate = recalibrate(model, batches, loss=nn.CrossEntropyLoss(), keep="better")
    assert certificate.kept
    assert b'"before": null' in certificate.json()


def test_a_loss_and_a_target_of_the_users_own():
    model, batches = trained()
    model[5].running_var.mul_(50)
    named = [{"input": x, "label": y} for x, y in batches]
    certificate = recalibrate(
        model,
        named,
        forward=lambda m, b: m(b["input"]),
        loss=lambda out, y: (out.argmax(1) != y).double(),
        target=lambda b: b["label"],
        keep="better",
    )
    assert certificate.score.unit == "loss"
    assert certificate.kept == (certificate.score.gain > 2 * certificate.score.noise)


def test_one_batch_has_no_other_half():
    model, batches = trained()
    with pytest.raises(NormscopeError, match="give two or more, or no loss"):
        recalibrate(model, batches[:1], loss=nn.CrossEntropyLoss())


def test_layer_by_layer_as_well():
    model, batches = trained()
    model[1].running_mean.add_(2.0)
    certificate = recalibrate(model, batches, loss=nn.CrossEntropyLoss(), keep="better", exact=True)
    assert certificate.kept
    assert certificate.passes == 2

"""Losses and decisions of kept batches, as the training script saw them."""

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from normscope.probes.judgement import judge
from probes.asking import ask, kept, mlp, recalibrate

N = 6


def judged(returned, target, loss, **more):
    outputs = returned if isinstance(returned, list) else [returned]
    return judge(kept(torch.zeros(N, 1), target, loss, **more), outputs)


def test_classes():
    scores, target = torch.randn(N, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    found = judged(scores, target, "cross_entropy", label_smoothing=0.1)
    expected = F.cross_entropy(scores, target, reduction="none", label_smoothing=0.1)
    assert torch.allclose(found.loss, expected.double())
    assert torch.equal(found.wrong, (scores.argmax(1) != target).double())


def test_log_probabilities():
    scores, target = torch.randn(N, 4).log_softmax(1), torch.tensor([0, 1, 2, 3, 0, 1])
    found = judged(scores, target, "nll_loss")
    assert torch.allclose(found.loss, -scores[range(N), target].double())
    assert torch.equal(found.wrong, (scores.argmax(1) != target).double())


@pytest.mark.parametrize("smooth", [0.0, 0.1])
def test_one_hot_and_probability_targets(smooth):
    scores, target = torch.randn(N, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    shares = F.one_hot(target, 4) * (1 - smooth) + smooth / 4
    found = judged(scores, shares, "cross_entropy")
    assert torch.equal(found.wrong, (scores.argmax(1) != target).double())
    assert torch.allclose(found.loss, F.cross_entropy(scores, shares, reduction="none").double())


def test_segmentation_leaves_out_what_the_loss_ignores():
    scores, target = torch.randn(N, 3, 4, 5), torch.randint(0, 3, (N, 4, 5))
    target[:, 0] = 255
    target[5] = 255  # a picture without any label
    found = judged(scores, target, "cross_entropy", ignore_index=255)
    each = F.cross_entropy(scores, target, reduction="none", ignore_index=255).double()
    flips = (scores.argmax(1) != target).double()
    assert torch.allclose(found.loss[:5], each[:5, 1:].mean((1, 2)))
    assert torch.allclose(found.wrong[:5], flips[:5, 1:].mean((1, 2)))
    assert (found.loss[5], found.wrong[5]) == (0, 0)


@pytest.mark.parametrize("shape", [(N,), (N, 1), (N, 7)])
def test_binary(shape):
    logits, target = torch.randn(shape), torch.randint(0, 2, shape).float()
    wrong = ((logits > 0) != (target > 0.5)).double().reshape(N, -1).mean(1)
    found = judged(logits, target, "binary_cross_entropy_with_logits")
    assert torch.equal(found.wrong, wrong)
    found = judged(logits.sigmoid(), target, "binary_cross_entropy")
    assert torch.equal(found.wrong, wrong)


def test_a_binary_loss_on_something_else_than_the_output_decides_nothing():
    found = judged(torch.rand(N, 1), torch.ones(N, 1), "binary_cross_entropy", direct=False)
    assert found.loss is None
    assert found.wrong is None


def test_regression_has_no_decisions():
    output, target = torch.randn(N, 3), torch.randn(N, 3)
    found = judged(output, target, "mse_loss")
    assert torch.allclose(found.loss, (output - target).square().mean(1).double())
    assert found.decision is None
    assert found.wrong is None


def test_half_precision_outputs_and_targets():
    output, target = torch.randn(N, 3).bfloat16(), torch.randn(N, 3).bfloat16()
    assert torch.allclose(
        judged(output, target, "l1_loss").loss,
        (output.float() - target.float()).abs().mean(1).double(),
    )


def test_the_output_that_the_loss_read_is_chosen():
    features, scores = torch.randn(N, 9), torch.randn(N, 3)
    target = torch.tensor([0, 1, 2, 0, 1, 2])
    found = judged([features, scores], target, "cross_entropy", output=1)
    assert torch.equal(found.output, scores.double())
    assert torch.equal(found.wrong, (scores.argmax(1) != target).double())


def test_a_model_that_returns_its_own_loss():
    scores = torch.randn(N, 3)
    found = judged([scores, torch.tensor(0.7)], None, None)
    assert found.loss.tolist() == pytest.approx([0.7])
    assert judged([torch.tensor(0.7), torch.tensor(0.1), scores], None, None).loss is None


def test_an_output_without_a_row_for_each_sample():
    found = judged(torch.randn(3 * N, 2), None, None)
    assert (found.loss, found.output, found.decision) == (None, None, None)


@dataclass
class Returned:
    loss: torch.Tensor
    logits: torch.Tensor


class Wrapped(nn.Module):
    """Returns what `form` makes of the scores."""

    def __init__(self, form):
        super().__init__()
        self.body, self.form = mlp(), form

    def forward(self, x):
        return self.form(self.body(x))


FORMS = {
    "dict": lambda s: {"logits": s},
    "tuple": lambda s: (s, None, "note"),
    "own loss": lambda s: Returned(s.square().mean(), s),
    "scalar": lambda s: s.square().mean(),
    "nothing that has rows": lambda s: s.flatten(),
}


@pytest.mark.parametrize("form", FORMS)
def test_models_that_return_other_things_than_one_tensor(form):
    model, x = Wrapped(FORMS[form]), torch.randn(128, 8)
    recalibrate(model, x)
    own_loss = form in ("own loss", "scalar")
    if form in ("dict", "tuple"):
        batches = [kept(p, torch.randint(0, 3, (32,)), "cross_entropy") for p in x.split(32)]
    else:
        batches = [kept(p) for p in x.split(32)]
    gap = ask(model, batches).gap
    if form == "nothing that has rows":
        assert gap.measure == "output"
        assert gap.running.value != gap.running.value
    else:
        assert gap.measure == "loss"
        assert gap.unit == ("loss" if own_loss else "nats")
        assert abs(gap.stale.value) < 0.1

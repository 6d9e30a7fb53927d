"""Layer by layer: statistics of inputs that population statistics normalized."""

import math

import pytest
import torch
from torch import nn

from normscope.repairs import recalibrate
from normscope.repairs.recalibration import batches as feeding
from normscope.repairs.recalibration.ordering import groups_of
from repairs.models import Residual, inputs, mlp

# relu(z) of a standard normal z: mean 1/√(2π), variance ½ − 1/(2π).
MEAN, VAR = 1 / math.sqrt(2 * math.pi), 0.5 - 1 / (2 * math.pi)


def known():
    """The second norm's input is relu(z) when the first one normalizes with population statistics."""
    return nn.Sequential(nn.BatchNorm1d(40, affine=False), nn.ReLU(), nn.BatchNorm1d(40))


def drawn(size, samples=4000):
    return [5 + 3 * torch.randn(size, 40) for _ in range(samples // size)]


@pytest.mark.parametrize("size", [2, 3, 4])
def test_batches_of_few_values_are_biased_in_one_pass_and_not_layer_by_layer(size):
    data = drawn(size)
    one, exact = known(), known()
    told = recalibrate(one, data)
    recalibrate(exact, data, exact=True)
    assert float(exact[2].running_mean.mean()) == pytest.approx(MEAN, rel=0.01)
    assert float(exact[2].running_var.mean()) == pytest.approx(VAR, rel=0.01)
    assert abs(float(one[2].running_var.mean()) / VAR - 1) > 0.05
    assert any("give larger batches, or exact=True" in w for w in told.warnings)


def test_with_two_values_one_pass_sees_signs_only():
    # Two values are normalized to −1 and 1: relu gives 0 and 1, of mean ½ and variance ¼.
    one = known()
    recalibrate(one, drawn(2))
    assert float(one[2].running_mean.mean()) == pytest.approx(0.5, rel=0.01)
    assert float(one[2].running_var.mean()) == pytest.approx(0.25, rel=0.01)


def test_large_batches_agree():
    data = drawn(500)
    one, exact = known(), known()
    recalibrate(one, data)
    recalibrate(exact, data, exact=True)
    torch.testing.assert_close(one[2].running_var, exact[2].running_var, rtol=0.01, atol=0)
    assert not [w for w in recalibrate(one, data).warnings if "exact=True" in w]


@pytest.mark.parametrize("make", [mlp, Residual])
def test_each_layer_has_the_moments_of_its_inputs_in_evaluation(make):
    model = make().train()
    data = inputs(sizes=(3,) * 32) if make is mlp else [torch.randn(3, 3, 5, 5) for _ in range(20)]
    recalibrate(model, data, exact=True)
    model.eval()
    seen = {}
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(
                lambda m, a: seen.update({m: a[0].double().transpose(0, 1).flatten(1)})
            )
    with torch.no_grad():
        model(torch.cat(data))
    for norm, x in seen.items():
        torch.testing.assert_close(norm.running_mean.double(), x.mean(1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var.double(), x.var(1), rtol=1e-4, atol=0)


def groups(model, x):
    model = model.eval()
    norms = {
        p: m for p, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
    }
    feed = feeding.Feed(model)
    [(fed, _)] = feed.of([x])
    with torch.no_grad():
        return groups_of(model, norms, lambda: feed.run_first(fed), (fed.args, fed.kwargs))


def test_layers_that_do_not_feed_each_other_share_a_pass():
    assert groups(Residual(), torch.randn(2, 3, 5, 5)) == [["bn1", "bn3"], ["bn2"]]
    assert recalibrate(Residual(), [torch.randn(4, 3, 5, 5)], exact=True).passes == 2


def test_a_detached_path_is_a_dependence():
    class Stopped(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.BatchNorm1d(4), nn.BatchNorm1d(4)

        def forward(self, x):
            with torch.no_grad():
                y = self.first(x).detach()
            return self.second(y)

    assert groups(Stopped(), torch.randn(4, 4)) == [["first"], ["second"]]


def test_a_generator_is_kept_for_the_later_passes():
    model = mlp()
    certificate = recalibrate(model, (x for x in inputs()), exact=True)
    assert (certificate.passes, certificate.samples) == (2, 96)
    assert "2 passes, layer by layer" in certificate.text()

"""Moments and gradients through the depth, against what the model and autograd say."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from normscope.probes.depth import flow
from normscope.probes.setup import Setup, prepared
from normscope.probes.untouched import untouched
from probes.asking import mlp


def ask(model, batches, norms=(), **facts):
    given = prepared(Setup(model=model, train=batches, **facts))
    with untouched(model):
        return flow(model, given.train, norms, "Net")


def norms_of(model):
    return [m for m in model.modules() if isinstance(m, nn.BatchNorm1d)]


def test_moments_of_a_known_distribution():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.ReLU(), nn.Tanh())
    with torch.no_grad():
        model[0].weight.fill_(2.0)
        model[0].bias.fill_(1.0)
    found = ask(model, [7 + 3 * torch.randn(4096, 4) for _ in range(4)], norms_of(model))
    norm, relu, tanh = found.places
    assert (norm.path, norm.function) == ("0", "batch_norm")
    assert norm.mean == pytest.approx(1.0, abs=1e-3)
    assert norm.sd == pytest.approx(2.0, rel=1e-3)
    assert norm.kurtosis == pytest.approx(3.0, rel=0.05)
    assert norm.positive == pytest.approx(0.5 * (1 + math.erf(0.5 / math.sqrt(2))), abs=0.01)
    assert (relu.function, tanh.function) == ("relu", "tanh")
    assert relu.positive == norm.positive
    assert norm.gradient is None


def test_gradients_are_those_of_autograd():
    torch.manual_seed(0)
    model = mlp()
    x, y = torch.randn(32, 8), torch.randint(0, 3, (32,))
    found = ask(model, [(x, y)], norms_of(model), loss=nn.CrossEntropyLoss())
    model.train()
    values = []
    for module in model:
        x = module(x)
        x.retain_grad()
        values.append(x)
    F.cross_entropy(x, y).backward()
    wanted = [
        float(v.grad.norm())
        for v, m in zip(values, model, strict=True)
        if not isinstance(m, nn.Linear)
    ]
    assert [p.gradient for p in found.places] == pytest.approx(wanted, rel=1e-4)
    weights = {n: p for n, p in model.named_parameters() if p.ndim >= 2}
    assert [w.path for w in found.weights] == list(weights)
    for w in found.weights:
        assert w.gradient == pytest.approx(float(weights[w.path].grad.norm()), rel=1e-4)
        assert w.weight == pytest.approx(float(weights[w.path].detach().norm()), rel=1e-5)


def test_values_are_looked_at_before_they_are_changed_in_place():
    torch.manual_seed(0)
    plain = mlp()
    inplace = nn.Sequential(
        *(nn.ReLU(inplace=True) if isinstance(m, nn.ReLU) else m for m in plain)
    )
    data = [(torch.randn(32, 8), torch.randint(0, 3, (32,)))]
    facts = {"loss": nn.CrossEntropyLoss()}
    one = ask(plain, data, norms_of(plain), **facts)
    two = ask(inplace, data, norms_of(plain), **facts)
    assert [p.gradient for p in two.places] == pytest.approx([p.gradient for p in one.places])
    assert [p.sd for p in two.places] == pytest.approx([p.sd for p in one.places])


def test_the_growth_of_gradients_in_plain_deep_networks():
    """Squared norms grow by π/(π − 1) for each ReLU behind a batch norm (Yang et al. 2019), with many samples and channels."""
    torch.manual_seed(0)
    width, depth = 192, 9
    blocks = [
        m
        for _ in range(depth)
        for m in (nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU())
    ]
    for m in blocks[::3]:
        nn.init.normal_(m.weight, std=(1 / width) ** 0.5)
    model = nn.Sequential(*blocks, nn.Linear(width, 10))
    data = [(torch.randn(512, width), torch.randint(0, 10, (512,))) for _ in range(3)]
    found = ask(model, data, norms_of(model), loss=nn.CrossEntropyLoss())
    norms = [p.gradient for p in found.places if p.function == "batch_norm"]
    growth = (norms[0] / norms[6]) ** (2 / 6)
    assert growth == pytest.approx(math.pi / (math.pi - 1), rel=0.06)


def test_a_shared_activation_is_told_by_call():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.act, self.a, self.b = nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x):
            return self.act(self.b(self.act(self.a(x)))).sigmoid()

    found = ask(Shared(), [torch.randn(16, 8)])
    assert [(p.path, p.function, p.index) for p in found.places] == [
        ("act", "relu", 0),
        ("act", "relu", 1),
        ("", "sigmoid", 0),
    ]


@pytest.mark.parametrize(
    ("loss", "same"),
    [
        (nn.CrossEntropyLoss(), True),
        (F.cross_entropy, True),
        (lambda out, y: F.cross_entropy(out, y), True),
        (lambda out, y: out.detach().mean(), False),
        (None, False),
    ],
    ids=["module", "function", "own", "cannot be differentiated", "none"],
)
def test_losses_of_any_kind(loss, same):
    torch.manual_seed(0)
    model, data = mlp(), [(torch.randn(32, 8), torch.randint(0, 3, (32,)))]
    found = ask(model, data, norms_of(model), loss=loss)
    if not same:
        assert found.weights == ()
        assert all(p.gradient is None for p in found.places)
        return
    wanted = ask(model, data, norms_of(model), loss=nn.CrossEntropyLoss())
    assert [w.gradient for w in found.weights] == pytest.approx(
        [w.gradient for w in wanted.weights]
    )


def test_frozen_weights_have_no_gradient_to_tell():
    model = mlp()
    model[0].weight.requires_grad_(False)
    data = [(torch.randn(32, 8), torch.randint(0, 3, (32,)))]
    found = ask(model, data, norms_of(model), loss=nn.CrossEntropyLoss())
    assert "0.weight" not in {w.path for w in found.weights}
    assert len(found.weights) == 2

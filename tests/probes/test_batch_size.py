"""The averaged gradient of the same samples, cut into batches: against what is known, and without a trace in the model."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.errors import NormscopeError
from normscope.probes import batch_size, plan
from normscope.probes.answers.batch_size import Interval, SizeBias, smallest_safe
from normscope.probes.by_depth import called
from normscope.probes.gradients import gradient
from normscope.probes.recut import Pool
from normscope.probes.replay import set_mode
from normscope.probes.sets import WIDTH, Layout, averaged
from normscope.probes.setup import Setup, prepared
from normscope.probes.without_statistics import replaced
from probes.asking import mlp
from probes.test_untouched import Talkative, same, state


def given(batches, model=None, **more):
    return prepared(Setup(model=model or mlp(), train=batches, **more)).train


def data(samples=256, size=32):
    x = torch.randn(samples, 8)
    y = x[:, :3].argmax(1)
    return list(zip(x.split(size), y.split(size), strict=True))


def ask(model, batches, *, seconds=600.0, loss=None, **more):
    loss = nn.CrossEntropyLoss() if loss is None else loss
    asked = given(batches, model, loss=loss, **more)
    return batch_size.measure(model, asked, model_id=0, name="Net", seconds=seconds)


def test_a_normal_channel_has_the_bias_of_its_batch_sd():
    """With loss γ·x̂·x the gradient of γ is the batch's own sd s, and E s = σ √(2/b) Γ(b/2) / Γ((b−1)/2)."""

    def sd(b):
        return math.sqrt(2 / b) * math.exp(math.lgamma(b / 2) - math.lgamma((b - 1) / 2))

    held, found = 0, {}
    for seed in range(8):
        torch.manual_seed(seed)
        x = torch.randn(512, 1)
        model = nn.Sequential(nn.BatchNorm1d(1, eps=1e-12))
        answer = ask(model, [(x, x)], loss=lambda out, target, reduction="none": out * target)
        assert (answer.sets, answer.largest) == (8, 64)
        for entry in answer.sizes:
            truth = (sd(64) - sd(entry.size)) / sd(64)
            held += entry.bias.low <= truth <= entry.bias.high
            found.setdefault(entry.size, []).append(entry.bias.value / truth)
    assert held >= 34  # of 40, at 95 %
    for ratios in (found[2], found[4], found[8]):  # where the bias is far above its noise
        assert sum(ratios) / len(ratios) == pytest.approx(1, abs=0.1)


def test_averaged_is_the_mean_of_the_gradients_of_batches():
    model = mlp()
    pool = Pool(given(data(64), model, loss=nn.CrossEntropyLoss()))
    set_mode(model, [m for m in model.modules() if isinstance(m, _BatchNorm)])
    parameters = list(model.parameters())
    layout = Layout(called(model, pool.take(torch.arange(4)), parameters), parameters)
    members = torch.randperm(64)
    found = averaged(lambda b: gradient(model, b, parameters), pool, members, 8, layout)
    loss = 0.0
    for part in members.split(8):
        batch = pool.take(part)
        loss = loss + nn.functional.cross_entropy(model(batch.args[0]), batch.target) / 8
    grads = torch.autograd.grad(loss, parameters)
    torch.testing.assert_close(
        found, torch.cat([g.reshape(-1) for g in grads]), atol=1e-6, rtol=1e-4
    )


def test_wide_layers_are_kept_as_sketches_with_the_right_inner_products():
    wide = [nn.Parameter(torch.empty(3 * WIDTH + 5)), nn.Parameter(torch.empty(7))]
    layout = Layout({"wide": [0], "narrow": [1]}, wide)
    x = [torch.randn_like(p) for p in wide]
    y = [0.8 * a + 0.6 * torch.randn_like(a) for a in x]
    one, two = layout.keep(x), layout.keep(y)
    assert len(one) == WIDTH + 7
    exact = float(x[0] @ y[0])
    assert float(one[:WIDTH] @ two[:WIDTH]) == pytest.approx(exact, rel=0.1)
    torch.testing.assert_close(one[WIDTH:], x[1])


def test_norms_without_statistics_have_no_bias_and_batch_norm_has():
    answer = ask(mlp(), data(512))
    assert {o.norm for o in answer.replaced} == {"group", "layer"}
    for other in answer.replaced:
        assert len(other.bias) == len(answer.sizes)
        assert max(other.bias) < 1e-4
    by_size = {s.size: s for s in answer.sizes}
    assert by_size[4].bias.low > by_size[32].bias.high
    assert [layer.path for layer in answer.layers] == ["0", "1", "3", "4", "6"]
    assert [layer.depth for layer in answer.layers] == [0, 0.25, 0.5, 0.75, 1]


def test_bias_falls_about_as_one_over_the_batch():
    by_size = {s.size: s.bias.value for s in ask(mlp(), data(1024)).sizes}
    assert by_size[4] > by_size[8] > by_size[16] > by_size[32]
    assert by_size[8] / by_size[32] == pytest.approx(4, rel=0.5)


def size(b, high):
    return SizeBias(b, Interval(high, 0, high), Interval(1, 1, 1), 0.0)


def test_the_smallest_safe_size_has_only_safe_ones_above():
    assert smallest_safe([size(2, 0.9), size(4, 0.4), size(8, 0.1)], 0.5) == 4
    assert smallest_safe([size(2, 0.2), size(4, 0.6), size(8, 0.1)], 0.5) == 8
    assert smallest_safe([size(2, 0.2), size(4, 0.6)], 0.5) is None
    assert smallest_safe([size(2, math.nan), size(4, 0.3)], 0.5) == 4


@pytest.mark.parametrize("fails_at", [None, 1, 5, 40])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_model_is_left_as_it_was(fails_at, error):
    class Failing(Talkative):
        def forward(self, x):
            if fails_at is not None and self.calls + 1 >= fails_at:
                raise error
            return super().forward(x)

    model, batches = Failing(), data()
    model.body(batches[0][0]).sum().backward()
    before = state(model)
    if fails_at is None:
        ask(model, batches)
    else:
        with pytest.raises(error):
            ask(model, batches)
    assert same(state(model), before)


def test_progress_grows_to_the_end():
    told = []
    model = mlp()
    asked = given(data(), model, loss=nn.CrossEntropyLoss())
    batch_size.measure(model, asked, model_id=0, name="Net", seconds=600.0, progress=told.append)
    assert told == sorted(told)
    assert len(told) > 10
    assert told[-1] == 1.0


@pytest.mark.parametrize(
    ("seconds", "largest", "sets", "skipped"),
    [(1e4, 256, 8, 0), (5.1, 256, 8, 0), (3, 128, 9, 1), (1.5, 64, 9, 2), (0.4, 32, 11, 4)],
)
def test_time_decides_on_sets_and_sizes(seconds, largest, sets, skipped, monkeypatch):
    """With a millisecond a batch of any size, a cut of M samples into b costs M / b milliseconds.

    All sizes of K sets then take K (2 (M − 2) + 1) + 4 (M − 1) milliseconds: 5.09 seconds for M = 256 and K = 8.
    """
    monkeypatch.setattr(plan, "_time", lambda *_: 1e-3)
    model = mlp()
    pool = Pool(given(data(2048), model))
    found = plan.planned(lambda _: [], pool, seconds=seconds, cuts=2, compared=2)
    assert found.seconds <= seconds
    assert sorted({*found.sizes, *found.skipped, found.largest}) == [2**i for i in range(1, 9)]
    assert (found.largest, found.sets, len(found.skipped)) == (largest, sets, skipped)
    divided = torch.cat(found.divided(pool.samples))
    assert len(divided.unique()) == len(divided) == found.sets * found.largest


def test_it_says_why_it_cannot_be_asked():
    with pytest.raises(NormscopeError, match="64 samples or more"):
        ask(mlp(), data(48))
    with pytest.raises(NormscopeError, match="no batch norm"):
        ask(nn.Linear(8, 3), data())
    with pytest.raises(NormscopeError, match="it needs a loss"):
        batch_size.measure(mlp(), given(data()), model_id=0, name="Net")
    with pytest.raises(NormscopeError, match="seconds, which is more than 3 times"):
        ask(mlp(), data(), seconds=1e-6)
    frozen = mlp()
    for m in frozen.modules():
        if isinstance(m, _BatchNorm):
            m.eval()
    with pytest.raises(NormscopeError, match="training runs with batch statistics"):
        ask(frozen, data())


def test_a_model_that_returns_its_own_loss():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = mlp()

        def forward(self, x, y):
            return nn.functional.cross_entropy(self.body(x), y)

    model = Own()
    answer = batch_size.measure(model, given(data(), model), model_id=0, name="Own", seconds=600.0)
    assert answer.sizes[0].bias.value > 0


def test_batches_that_a_callable_takes_apart():
    batches = [{"image": x, "label": y, "name": "digits"} for x, y in data()]
    answer = ask(
        mlp(), batches, forward=lambda m, b: m(b["image"]), target=lambda b: b["label"]
    )  # fmt: skip
    assert answer.sizes


@dataclass
class Example:
    x: torch.Tensor
    scale: float


def test_samples_are_taken_from_any_structure():
    batches = [Example(torch.arange(4.0) + 4 * i, 2.0) for i in range(3)]
    asked = given(
        batches, forward=lambda m, b: b.x * b.scale, target=lambda b: {"y": (b.x, "name")},
        loss=lambda out, t: out,
    )  # fmt: skip
    batch = Pool(asked).take(torch.tensor([0, 11, 5]))
    assert batch.args[0].x.tolist() == [0, 11, 5]
    assert batch.args[0].scale == 2.0
    assert batch.wanted["y"][0].tolist() == [0, 11, 5]
    assert batch.wanted["y"][1] == "name"
    assert batch.samples == 3


@pytest.mark.parametrize(
    ("batches", "told"),
    [
        ([(torch.ones(4, 8),), (torch.ones(4, 9),)], "different shapes"),
        ([(torch.ones(4, 8), 1), (torch.ones(4, 8), 2)], "is 1 in one batch"),
        ([(torch.ones(4, 8), torch.ones(3)), (torch.ones(4, 8), torch.zeros(3))], "one row for each"),
        ([(torch.ones(4, 8), {1, 2}), (torch.ones(4, 8), {1, 2})], "set, which cannot be cut"),
    ],
)  # fmt: skip
def test_what_cannot_be_cut_is_refused(batches, told):
    with pytest.raises(NormscopeError, match=told):
        Pool(given(batches, forward=lambda m, b: m(b[0])))


def test_replaced_norms_carry_the_parameters():
    model = nn.Sequential(nn.Conv2d(3, 24, 3), nn.BatchNorm2d(24, eps=0.1), nn.ReLU())
    nn.init.normal_(model[1].weight)
    other = replaced(model, "layer")
    assert isinstance(model[1], nn.BatchNorm2d)
    assert (other[1].num_groups, other[1].eps) == (1, 0.1)
    assert torch.equal(other[1].weight, model[1].weight)
    assert replaced(model, "group")[1].num_groups == 3  # of eight channels each
    with pytest.raises(NormscopeError, match="cannot be divided"):
        replaced(nn.Sequential(nn.BatchNorm1d(7)), "group")

    class Active(nn.BatchNorm1d):
        def forward(self, x):
            return super().forward(x).relu()

    with pytest.raises(NormscopeError, match="may do more than normalize"):
        replaced(nn.Sequential(Active(8)), "group")

"""Batch norms exchanged for others: what is kept, what is refused, and the traps that converters fall into."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import normscope
from normscope.errors import NormscopeError
from normscope.nn import DomainBatchNorm, FrozenBatchNorm
from normscope.repairs.conversion import TARGETS, convert
from normscope.repairs.conversion.groups import groups_for

X = torch.randn(8, 3, 12, 12, generator=torch.Generator().manual_seed(1))


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.2)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + x)


def resnet(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.BatchNorm2d(16),
        Block(16),
        Block(16),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )
    for _ in range(30):
        model(torch.randn(16, 3, 12, 12))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_()
    return model


def norms(model, kind=nn.Module):
    paths = ("1", "2.bn1", "2.bn2", "3.bn1", "3.bn2")
    return [m for p in paths if isinstance(m := model.get_submodule(p), kind)]


@pytest.mark.parametrize("to", TARGETS)
def test_every_target_runs_trains_and_keeps_scales_and_shifts(to):
    model = resnet()
    repaired, certificate, migration = convert(model, to, X)
    assert len(norms(model, nn.BatchNorm2d)) == 5
    assert not norms(repaired, nn.BatchNorm2d)
    assert "exchanged 5 batch norms" in certificate.done
    old = {id(p): p for p in model.parameters()}
    assert sum(p.numel() for p in repaired.parameters()) == sum(p.numel() for p in old.values())
    assert not any(id(p) in old for p in repaired.parameters())
    before, after = model.state_dict(), repaired.state_dict()
    for name, value in model.named_parameters():
        inner = (
            name
            if name in after
            else name.replace(".weight", ".norms.0.weight").replace(".bias", ".norms.0.bias")
        )
        assert torch.equal(after[inner], value)
    repaired.load_state_dict(migration.forward(before))
    model.load_state_dict(migration.backward(repaired.state_dict()))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    if to != "sync":  # training takes a process group and a GPU there
        repaired.train()(X).sum().backward()
        assert all(p.grad is not None for p in repaired.parameters())


@pytest.mark.parametrize("to", ["sync", "renorm", "ghost", "frozen", "domain"])
def test_what_keeps_the_statistics_keeps_evaluation(to):
    model = resnet().eval()
    repaired, certificate, _ = convert(model, to, X)
    torch.testing.assert_close(repaired.eval()(X), model(X), rtol=1e-5, atol=1e-5)
    [evaluated] = [d for d in certificate.differences if d.mode == "eval"]
    assert evaluated.distance < 1e-5


def test_frozen_norms_survive_train_and_do_what_evaluation_does():
    model = resnet().eval()
    repaired, _, _ = convert(model, "frozen", X, trainable_affine=False)
    assert len(norms(repaired, FrozenBatchNorm)) == 5
    assert not any(p.requires_grad for m in norms(repaired) for p in m.parameters())
    assert repaired[0].weight.requires_grad
    expected = model(X)
    torch.testing.assert_close(repaired.train()(X), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(repaired.eval()(X), expected, rtol=1e-5, atol=1e-5)
    assert all(p.requires_grad for p in model.parameters())


def test_the_scale_of_the_outputs_can_be_kept_by_calibration():
    model = resnet().eval()
    plain, _, _ = convert(model, "group", X)
    fitted, certificate, _ = convert(model, "group", X, calibrated=True)
    errors = [(m.eval()(X) - model(X)).detach().square().mean().sqrt() for m in (plain, fitted)]
    assert errors[1] < 0.7 * errors[0]
    assert any("5 layers were set" in w for w in certificate.warnings)
    seen = {}
    for name, net in (("old", model), ("new", fitted)):
        for path in ("1", "2.bn1", "3.bn2"):
            net.get_submodule(path).register_forward_hook(
                lambda _, __, out, key=(name, path): seen.update({key: out.detach()})
            )
        net.eval()(X)
    for path in ("1", "2.bn1", "3.bn2"):
        for moment in (torch.mean, torch.std):
            old, new = (
                moment(seen[name, path].transpose(0, 1).flatten(1), dim=1)
                for name in ("old", "new")
            )
            torch.testing.assert_close(new, old, rtol=1e-3, atol=1e-3)


def test_an_existing_optimizer_stays_valid():
    model = resnet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(X).sum().backward()
    optimizer.step()
    repaired, _, _ = convert(model, "group", X, share_parameters=True)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert {id(p) for p in repaired.parameters()} == held
    before = repaired[1].weight.detach().clone()
    optimizer.zero_grad()
    repaired(X).sum().backward()
    optimizer.step()
    assert not torch.equal(before, repaired[1].weight)


def test_modes_and_learning_flags_are_carried_over():
    model = resnet()
    model[1].eval()
    model[1].weight.requires_grad_(False)
    repaired, _, _ = convert(model, "ghost", X)
    assert [repaired[1].training, repaired[2].bn1.training] == [False, True]
    assert [repaired[1].weight.requires_grad, repaired[1].bias.requires_grad] == [False, True]
    assert [repaired[2].bn1.eps, repaired[2].bn1.momentum] == [1e-3, 0.2]


def test_only_the_named_layers_are_exchanged():
    repaired, _, _ = convert(resnet(), "group", X, layers=("2", "3.bn1"))
    kinds = [type(m).__name__ for m in norms(repaired)]
    assert kinds == ["BatchNorm2d", "GroupNorm", "GroupNorm", "GroupNorm", "BatchNorm2d"]
    with pytest.raises(NormscopeError, match=r"No batch norm is named `2\.bn3`"):
        convert(resnet(), "group", X, layers=("2.bn3",))


# The traps of other converters


def test_groups_that_erase_the_data_are_not_made():
    """GroupNorm(4, 4) on (N, 4) gives the shift whatever comes in; so does InstanceNorm on one position."""
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 64), nn.BatchNorm1d(64))
    x = torch.randn(16, 3)
    repaired, certificate, _ = convert(model, "group", x)
    assert isinstance(repaired[1], nn.BatchNorm1d)
    assert (certificate.left[0].path, "too few" in certificate.left[0].reason) == ("1", True)
    assert repaired[3].num_groups == 8
    assert float(repaired(x).detach().std(0).min()) > 0
    for inputs in ((x,), ()):
        with pytest.raises(NormscopeError, match="can become `instance`"):
            convert(model, "instance", *inputs)


def test_a_group_has_eight_channels_where_no_number_is_asked_for():
    """A channel to a group is instance norm, which forgets what the channels say together."""
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 512, 3), nn.BatchNorm2d(512)
    )
    x = torch.randn(2, 3, 8, 8)
    repaired, _, _ = convert(model, "group", x)
    assert [repaired[i].num_groups for i in (1, 3)] == [2, 32]
    repaired, _, _ = convert(model, "group", x, groups=16)
    assert [repaired[i].num_groups for i in (1, 3)] == [16, 16]


class Activated(nn.BatchNorm2d):
    """As in libraries that fuse dropout and activation into the norm."""

    def __init__(self, channels):
        super().__init__(channels)
        self.drop, self.act = nn.Identity(), nn.ReLU()

    def forward(self, input):  # noqa: A002, torch's word
        return self.act(self.drop(super().forward(input)))


class Odd(nn.BatchNorm2d):
    def forward(self, input):  # noqa: A002, torch's word
        return super().forward(input) * 2


class Renamed(nn.BatchNorm2d):
    pass


def test_an_activation_fused_into_a_subclass_survives():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), Activated(8)).eval()
    for to in ("group", "frozen", "sync"):
        model[1].running_mean.fill_(0.1)
        repaired, _, migration = convert(model, to, X)
        assert float(repaired.eval()(X).detach().min()) == 0
        repaired.load_state_dict(migration.forward(model.state_dict()))
        assert migration.backward(repaired.state_dict()).keys() == model.state_dict().keys()


def test_a_subclass_that_does_something_else_is_left_alone():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), Odd(8), Renamed(8))
    repaired, certificate, _ = convert(model, "group", X)
    assert isinstance(repaired[1], Odd)
    assert "computes more than batch norm" in certificate.left[0].reason
    assert isinstance(repaired[2], nn.GroupNorm)


def test_fresh_statistics_are_not_frozen():
    with pytest.raises(NormscopeError, match="still 0 and 1"):
        convert(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), "frozen", X)


class Held(nn.Module):
    """Layers that are held twice, in a list, and in a dict."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.again = self.norm
        self.plain = [nn.BatchNorm2d(3)]
        self.named = {"x": nn.BatchNorm2d(3)}

    def forward(self, x):
        return self.again(self.norm(self.plain[0](self.named["x"](x))))


def test_layers_are_exchanged_wherever_they_are_held():
    repaired, certificate, _ = convert(Held(), "layer", X)
    assert repaired.norm is repaired.again
    kinds = {type(m).__name__ for m in (repaired.norm, repaired.plain[0], repaired.named["x"])}
    assert kinds == {"GroupNorm"}
    assert "exchanged 3" in certificate.done


def test_a_layer_that_is_hidden_is_noticed():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)
            self.call = Caller(self.norm)

        def forward(self, x):
            return self.call(x)

    class Caller:
        def __init__(self, inner):
            self.inner = inner

        def __call__(self, x):
            return self.inner(x)

    with pytest.raises(NormscopeError, match="`norm` is still called after the exchange"):
        convert(Hidden(), "group", X)


def test_domains_start_from_the_present_statistics_and_part():
    repaired, _, _ = convert(resnet(), "domain", X)
    norm = repaired[1]
    assert isinstance(norm, DomainBatchNorm)
    assert torch.equal(norm.norms[0].running_mean, norm.norms[1].running_mean)
    with normscope.nn.in_domain(repaired, 1):
        repaired.train()(X + 5)
    assert not torch.equal(norm.norms[0].running_mean, norm.norms[1].running_mean)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("gruop",), "no `gruop` to convert to. Did you mean `group`"),
        (("group",), "Calibration needs data"),
    ],
)
def test_bad_wishes_get_one_line(words, told):
    with pytest.raises(NormscopeError, match=told):
        convert(resnet(), *words, calibrated=True)


def test_a_model_without_batch_norm_is_told():
    with pytest.raises(NormscopeError, match="it has none"):
        convert(nn.Linear(2, 2), "group")


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 512), st.integers(1, 100), st.integers(1, 64))
def test_groups_are_whole_and_large_enough(channels, positions, wanted):
    if channels * positions < 8:
        with pytest.raises(NormscopeError):
            groups_for(channels, positions, wanted)
        return
    groups = groups_for(channels, positions, wanted)
    assert channels % groups == 0
    assert groups <= wanted
    assert channels // groups * positions >= 8


def test_the_certificate_says_what_changes():
    """Parameters, function, cost, and where old checkpoints load."""
    model = resnet()
    told = {to: convert(model, to, X)[1] for to in ("group", "frozen", "domain")}
    size = sum(p.numel() for p in model.parameters())
    for to, certificate in told.items():
        assert certificate.parameters.startswith(f"{size:,} parameters as before, ")
        assert TARGETS[to].function in certificate.done
        assert certificate.cost == TARGETS[to].cost
    assert "0 values in buffers instead of 165" in told["group"].parameters
    assert "`migration.forward`" in told["group"].checkpoints
    assert told["frozen"].checkpoints.startswith("load both ways as they are")
    assert "takes the first domain" in told["domain"].checkpoints
    activated = convert(nn.Sequential(nn.Conv2d(3, 8, 3), Activated(8)), "ghost", X)[1]
    assert "names change where an activation follows" in activated.checkpoints
    for line in ("parameters   ", "cost         ", "checkpoints  "):
        assert f"\n  {line}" in told["group"].text()


@pytest.mark.parametrize(("size", "told"), [(8, False), (9, True), (32, True)])
def test_ghosts_say_when_the_batch_is_one_of_them(size: int, told: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    _, certificate, _ = convert(model, "ghost", torch.randn(16, 3, 6, 6), ghost_size=size)
    assert any("is one ghost" in note for note in certificate.warnings) is told

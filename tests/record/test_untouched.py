"""What is observed stays what it was: attributes, state, copies; and buffers that are replaced are followed."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from normscope.record.torch import active
from normscope.record.torch import live as current
from record.conftest import Observing
from record.loops import Net, batch, evaluate, sgd, single, train


def anatomy(net: nn.Module) -> list[tuple[str, set[str], int]]:
    """Everything that hangs on each module: its attributes, and how many hooks."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [
        (name, set(vars(m)), sum(len(getattr(m, h)) for h in hooks))
        for name, m in net.named_modules()
    ]


def test_a_model_gets_no_attributes_hooks_or_keys(observed: Observing) -> None:
    net = Net()
    before, keys = anatomy(net), list(net.state_dict())
    with observed():
        train(net, sgd(net), 3)
        assert anatomy(net) == before
        assert list(net.state_dict()) == keys
        assert [p.grad is not None for p in net.parameters()] == [True] * 10
        assert not any(p._backward_hooks for p in net.parameters())
    assert anatomy(net) == before


def test_weights_are_the_same_to_the_bit(observed: Observing) -> None:
    def end(*, watched: bool) -> dict[str, Any]:
        torch.manual_seed(5)
        net = Net()
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        if watched:
            with observed():
                train(net, optimizer, 20)
                evaluate(net, 2)
        else:
            train(net, optimizer, 20)
            evaluate(net, 2)
        return {
            "net": net.state_dict(),
            "adam": optimizer.state_dict(),
            "rng": torch.get_rng_state(),
        }

    plain, seen = io.BytesIO(), io.BytesIO()
    torch.save(end(watched=False), plain)
    torch.save(end(watched=True), seen)
    assert plain.getvalue() == seen.getvalue()


def test_models_are_pickled_and_copied_under_observation(observed: Observing) -> None:
    with observed():
        net = Net()
        train(net, sgd(net), 2)
        twins = [pickle.loads(pickle.dumps(net)), copy.deepcopy(net)]
        net.eval()
        x, _ = batch()
        wanted = net(x)
        for twin in twins:
            assert anatomy(twin) == anatomy(net)
            assert torch.equal(twin.eval()(x), wanted)
    assert b"normscope" not in pickle.dumps(sgd(net).state_dict())
    assert b"normscope" not in pickle.dumps(net)


def test_models_are_let_go_of(observed: Observing) -> None:
    import gc
    import weakref

    with observed() as run:
        net = nn.Sequential(nn.Linear(4, 3))  # without norm layers nothing could be asked of it
        train(net, sgd(net), 2)
        gone = weakref.ref(net)
        del net
        gc.collect()
        assert gone() is None
        kept = single()
        train(kept, sgd(kept), 2)
        later = weakref.ref(kept)
        del kept
        gc.collect()
        assert later() is not None  # the probes at the end may want it
    del run
    gc.collect()
    assert later() is None


def moved(net: nn.Module) -> nn.Module:
    return net.double()


def assigned(net: nn.Module) -> nn.Module:
    state = {k: v.clone() for k, v in net.state_dict().items()}
    net.load_state_dict(state, assign=True)
    return net


def replaced(net: nn.Module) -> nn.Module:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean = torch.full((4,), 7.0)
            module.reset_parameters()
    return net


@pytest.mark.parametrize("change", [moved, assigned, replaced])
def test_buffers_that_are_replaced_are_followed(observed: Observing, change: Any) -> None:
    net = single()
    with observed() as run:
        optimizer = sgd(net)
        train(net, optimizer, 3)
        change(net)
        optimizer = sgd(net)
        dtype = net[0].running_mean.dtype
        for _ in range(4):
            net(torch.randn(16, 4, dtype=dtype)).square().mean().backward()
            optimizer.step()
    r = run.recording
    [layer] = r.layers.values()
    assert (layer.path, layer.updates) == ("0", 7)
    assert r.steps == 7
    assert r.channels[0].running_mean.tolist() == net[0].running_mean.double().tolist()
    assert r.polls is not None
    ends = [float(net[0].running_var.min()), float(net[0].running_var.max())]
    last = [r.polls.values[n][-1, 0] for n in ("running_var_min", "running_var_max")]
    assert last == pytest.approx(ends, rel=1e-6)


def test_an_error_of_ours_does_not_reach_the_script(
    observed: Observing, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError), observed() as run:  # noqa: PT012
        net = single()
        optimizer = sgd(net)
        train(net, optimizer, 2)
        seen = run.observer

        def broken(*_: object) -> None:
            raise ZeroDivisionError("ours")

        monkeypatch.setattr(seen.timeline, "commit", broken)
        train(net, optimizer, 3)
        assert active() is None
        assert seen.failed
        assert len(optimizer.param_groups) == 1
    r = run.recording
    [event] = r.events_of("observer-error")
    assert (event.step, r.steps) == (2, 2)
    assert "ZeroDivisionError: ours" in event.detail
    assert int(net[0].num_batches_tracked) == 5


def test_without_an_observer_nothing_is_done() -> None:
    current.observer[0] = None
    net = single()
    train(net, sgd(net), 2)
    assert active() is None
    assert int(net[0].num_batches_tracked) == 2

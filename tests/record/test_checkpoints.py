"""What state dicts gave each norm layer."""

from __future__ import annotations

import torch
from torch import nn

from normscope.record.recording import Recording
from record.conftest import Observing
from record.loops import Net, evaluate, sgd, single, train


def loaded(recording: Recording, model: int) -> list[str | None]:
    return [x.loaded for x in recording.layers.values() if x.model == model]


def trained() -> Net:
    net = Net()
    train(net, sgd(net), 3)
    return net


def test_what_came_along(observed: Observing) -> None:
    with observed() as run:
        net = trained()
        whole, parameters, misnamed, none = Net(), Net(), Net(), Net()
        whole.load_state_dict(net.state_dict())
        parameters.load_state_dict(dict(net.named_parameters()), strict=False)
        state = {f"module.{k}": v for k, v in net.state_dict().items()}
        misnamed.load_state_dict(state, strict=False)
        for model in (whole, parameters, misnamed, none):
            evaluate(model, 1)
    r = run.recording
    assert [loaded(r, k) for k in range(5)] == [
        [None] * 2,
        ["complete"] * 2,
        ["parameters"] * 2,
        ["misnamed"] * 2,
        [None] * 2,
    ]
    [first, *_] = [x for x in r.layers.values() if x.model == 2]
    assert first.loaded_step == 3
    assert first.loaded_site is not None
    assert first.loaded_site.file.endswith("test_checkpoints.py")


def test_a_prefix_that_is_lacking(observed: Observing) -> None:
    with observed() as run:
        net = trained()
        wrapped = nn.DataParallel(Net())
        wrapped.load_state_dict(net.state_dict(), strict=False)
        evaluate(wrapped, 1)
    assert loaded(run.recording, 1) == ["misnamed"] * 2


def test_a_checkpoint_in_pieces_is_complete_with_the_last(observed: Observing) -> None:
    with observed() as run:
        net, other = trained(), Net()
        other.load_state_dict(dict(net.named_buffers()), strict=False)
        other.load_state_dict(dict(net.named_parameters()), strict=False)
        evaluate(other, 1)
    assert loaded(run.recording, 1) == ["complete"] * 2


def test_parameters_that_come_later_leave_what_is_complete(observed: Observing) -> None:
    with observed() as run:
        net, other = trained(), Net()
        other.load_state_dict(net.state_dict())
        evaluate(other, 1)
        other.load_state_dict(dict(net.named_parameters()), strict=False)
    assert loaded(run.recording, 1) == ["complete"] * 2


def test_a_new_layer_beside_loaded_ones(observed: Observing) -> None:
    with observed() as run:
        net, other = trained(), Net()
        state = {k: v for k, v in net.state_dict().items() if not k.startswith(("last", "head"))}
        other.load_state_dict(state, strict=False)
        evaluate(other, 1)
    assert loaded(run.recording, 1) == ["complete", None]


def test_the_batch_counter_may_be_missing(observed: Observing) -> None:
    with observed() as run:
        net, other = trained(), Net()
        state = {k: v for k, v in net.state_dict().items() if not k.endswith("tracked")}
        other.load_state_dict(state, strict=False)
        evaluate(other, 1)
    assert loaded(run.recording, 1) == ["complete"] * 2


def test_a_layer_without_scale_goes_with_the_rest(observed: Observing) -> None:
    def plain() -> nn.Sequential:
        return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False), nn.Linear(4, 3))

    with observed() as run:
        net, other = plain(), plain()
        train(net, sgd(net), 2)
        other.load_state_dict(dict(net.named_parameters()), strict=False)
        evaluate(other, 1)
    assert loaded(run.recording, 1) == ["parameters"]


def test_a_model_that_is_gone_at_the_end(observed: Observing) -> None:
    def score(state: dict[str, torch.Tensor]) -> None:
        model = Net()
        model.load_state_dict(state, strict=False)
        evaluate(model, 1)

    with observed() as run:
        score(dict(trained().named_parameters()))
    assert loaded(run.recording, 1) == ["parameters"] * 2


def test_loading_into_a_known_model(observed: Observing) -> None:
    with observed() as run:
        net = trained()
        best = {k: p.detach().clone() for k, p in net.named_parameters()}
        train(net, sgd(net), 2)
        net.load_state_dict(best, strict=False)
    layers = list(run.recording.layers.values())
    assert [(x.loaded, x.loaded_step) for x in layers] == [("parameters", 5)] * 2


def test_norms_that_keep_nothing_are_complete_with_their_parameters(observed: Observing) -> None:
    with observed() as run:
        net = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 3))
        net.load_state_dict(dict(net.named_parameters()))
        evaluate(net, 1)
    assert loaded(run.recording, 0) == ["complete"]


def test_parameters_copied_one_by_one(observed: Observing) -> None:
    with observed() as run:
        net = single()
        early = single()
        early.load_state_dict(net.state_dict())
        evaluate(early, 1)  # equal, but nothing was learned yet
        train(net, sgd(net), 3)
        copy = single()
        for p, q in zip(copy.parameters(), net.parameters(), strict=True):
            p.data.copy_(q)
        evaluate(copy, 1)
    early_, net_, copy_ = run.recording.models.values()
    assert (early_.restored_from, net_.restored_from) == (None, None)
    assert copy_.restored_from == net_.id

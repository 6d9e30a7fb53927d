"""Domains keep their statistics apart and share γ and β, or do not."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from nn.inputs import assert_alike, response, scrambled
from normscope.nn import DomainBatchNorm, in_domain


def batch(domain: int) -> torch.Tensor:
    return (
        torch.randn(16, 3, 2, generator=torch.Generator().manual_seed(domain)) * (1 + domain)
        + domain
    )


@pytest.mark.parametrize("shared", [True, False])
def test_each_domain_is_a_batch_norm_of_its_own(shared: bool) -> None:
    ours = DomainBatchNorm(3, 2, shared_affine=shared)
    theirs = [nn.BatchNorm1d(3), nn.BatchNorm1d(3)]
    for step in range(4):
        domain = step % 2
        y, d_x, _ = response(ours, batch(domain), domain)
        assert_alike((y, d_x, {}), (*response(theirs[domain], batch(domain))[:2], {}))
    for norm, other in zip(ours.norms, theirs, strict=True):
        torch.testing.assert_close(dict(norm.named_buffers()), dict(other.named_buffers()))
    first, second = ours.norms
    assert (first.weight is second.weight) == (first.bias is second.bias) == shared
    assert len(list(ours.parameters())) == (2 if shared else 4)
    for norms in (ours, *theirs):
        norms.zero_grad()
    for domain, norm in enumerate(theirs):
        for run in (norm, lambda x, d=domain: ours(x, d)):
            run(batch(domain)).pow(3).sum().backward()
    gradients = [n.weight.grad for n in theirs]
    found = [n.weight.grad for n in ours.norms]
    torch.testing.assert_close(found, [sum(gradients)] * 2 if shared else gradients)


def test_the_block_chooses_for_all_layers_and_ends() -> None:
    model = nn.Sequential(DomainBatchNorm(3), nn.ReLU(), DomainBatchNorm(3))
    with in_domain(model, 1):
        model(batch(1))
        with in_domain(model, 0):
            model(batch(0))
        model(batch(1))
    for layer in (model[0], model[2]):
        assert [int(n.num_batches_tracked) for n in layer.norms] == [1, 2]
        assert layer.domain == 0


def test_the_block_ends_when_the_model_raises() -> None:
    layer = DomainBatchNorm(3)
    with pytest.raises(ValueError, match="expected an input of shape"), in_domain(layer, 1):
        layer(torch.zeros(2, 5))
    assert layer.domain == 0


def test_a_batch_norms_checkpoint_starts_every_domain() -> None:
    source = nn.Sequential(nn.Conv1d(3, 3, 1), scrambled(nn.BatchNorm1d(3)))
    for shared in (True, False):
        model = nn.Sequential(nn.Conv1d(3, 3, 1), DomainBatchNorm(3, 3, shared_affine=shared))
        assert not any(model.load_state_dict(source.state_dict()))
        for k in range(3):
            torch.testing.assert_close(model[1].norms[k].state_dict(), source[1].state_dict())
    assert "1.running_mean" in source.state_dict()  # the caller's own is as it was


def test_a_copy_shares_within_itself() -> None:
    layer = DomainBatchNorm(3)
    twin = copy.deepcopy(layer)
    assert twin.norms[0].weight is twin.norms[1].weight
    assert twin.norms[0].weight is not layer.norms[0].weight


def test_synchronizing_converts_each_domain_and_keeps_the_sharing() -> None:
    model = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(DomainBatchNorm(3)))
    assert {type(n) for n in model[0].norms} == {nn.SyncBatchNorm}
    assert model[0].norms[0].weight is model[0].norms[1].weight


def test_an_unknown_domain_is_told_in_one_line() -> None:
    layer = DomainBatchNorm(3, 2)
    for ask in (
        lambda: layer(batch(0), 2),
        lambda: layer(batch(0), -1),
        lambda: in_domain(layer, 2).__enter__(),
    ):
        with pytest.raises(ValueError, match=r"domain -?\d was asked for, but there are 2: 0 to 1"):
            ask()
    with pytest.raises(ValueError, match="domains must be at least 1, got 0"):
        DomainBatchNorm(3, 0)

"""Sorted data resemble each other in their targets as well; a transform of a whole batch leaves the targets alone."""

from __future__ import annotations

import pytest
import torch

from normscope.probes.independence import Sampled, independence

COUNT, SIZE = 24, 32


def asked(targets):
    g = torch.Generator().manual_seed(0)
    shift = torch.randn(COUNT, 1, 1, generator=g)  # one for each whole batch
    means = shift + 0.3 * torch.randn(COUNT, SIZE, 4, generator=g)
    batches = [Sampled({"norm": m}, None, t) for m, t in zip(means, targets, strict=True)]
    answer = independence(batches, model=0, name="Net")
    assert answer is not None
    assert answer.p <= 0.01
    return answer.targets


def drawn(*, sort, real):
    values = torch.arange(COUNT * SIZE) % 10
    values = values.sort()[0] if sort else values[torch.randperm(len(values))]
    values = values.float() + 0.5 if real else values
    return list(values.view(COUNT, SIZE, 1))


@pytest.mark.parametrize("real", [False, True], ids=["classes", "numbers"])
def test_sorted_targets(real):
    torch.manual_seed(1)
    order = torch.randperm(COUNT)  # folder after folder, the folders in any order: no trend
    targets = drawn(sort=True, real=real)
    assert asked([targets[i] for i in order]) > 0.7


@pytest.mark.parametrize("real", [False, True], ids=["classes", "numbers"])
def test_shuffled_targets(real):
    torch.manual_seed(2)
    assert abs(asked(drawn(sort=False, real=real))) < 0.05


def test_targets_that_are_not_known_or_all_the_same():
    assert asked([None] * COUNT) is None
    assert asked([torch.ones(SIZE, 1)] * COUNT) is None

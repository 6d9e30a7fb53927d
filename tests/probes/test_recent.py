"""Which kept batches are asked about: those of the last stage of the training."""

from __future__ import annotations

import torch

from normscope.probes.recent import recent
from normscope.record.torch.batches import Kept


def stage(count: int, mean: float = 0.0, sd: float = 1.0, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [mean + sd * torch.randn(16, 5, generator=generator) for _ in range(count)]


def kept(inputs: list[torch.Tensor]) -> list[Kept]:
    return [Kept((x,), {}, len(x), x.nbytes, i, x.device) for i, x in enumerate(inputs)]


def steps(inputs: list[torch.Tensor]) -> list[int]:
    return [b.step for b in recent(kept(inputs))]


def test_other_data_of_equal_shape_begin_a_stage() -> None:
    assert steps(stage(10) + stage(12, mean=3.0, seed=1)) == list(range(10, 22))
    assert steps(stage(10) + stage(12, sd=4.0, seed=1)) == list(range(10, 22))


def test_of_three_stages_the_last_counts() -> None:
    three = stage(8) + stage(8, mean=3.0, seed=1) + stage(8, mean=-3.0, seed=2)
    assert steps(three) == list(range(16, 24))


def test_one_distribution_is_kept_whole() -> None:
    for seed in range(40):
        assert steps(stage(24, seed=seed)) == list(range(24))


def test_data_that_come_and_go_are_one_distribution() -> None:
    mixed = [x for pair in zip(stage(12), stage(12, mean=3.0, seed=1), strict=True) for x in pair]
    assert steps(mixed) == list(range(24))


def test_a_drift_is_no_stage() -> None:
    drift = [x + 0.05 * i for i, x in enumerate(stage(24))]
    assert steps(drift) == list(range(24))


def test_a_stage_of_few_batches_is_none() -> None:
    assert steps(stage(20) + stage(3, mean=3.0, seed=1)) == list(range(23))

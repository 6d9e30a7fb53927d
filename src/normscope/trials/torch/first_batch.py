# pyright: basic
"""No normalization, but its start: a fixed map that gives the first training batch mean 0 and variance 1."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from normscope.nn.frozen_batch_norm import FrozenBatchNorm

SETTLED = -1  # in the place of a count of batches: what checkpoints of a batch norm never have


class FirstBatchMap(FrozenBatchNorm):
    """y = γ (x − μ₁)/σ₁ + β with the statistics of the first batch that it sees in training, fixed from then on.

    The data-dependent initialization of Salimans & Kingma 2016 (arXiv 1602.07868, section 3): the network starts at the scale that
    batch norm would give it, and nothing is normalized afterwards. A map that comes from a checkpoint stays as it is.
    """

    settled = False

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        if self.training and not self.settled:
            self.settled = True
            dims = [d for d in range(input.ndim) if d != 1]
            with torch.no_grad():
                var, mean = torch.var_mean(input.detach().float(), dims, correction=0)
                assert self.running_mean is not None
                assert self.running_var is not None
                self.running_mean.copy_(mean)
                # A channel that is constant in one batch is not blown up by what it does in the next.
                self.running_var.copy_(torch.where(var > 1e-8, var, 1.0))
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.fill_(SETTLED)
        return super().forward(input)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *rest: Any, **words: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest, **words)
        self.settled = self.num_batches_tracked is not None and bool(
            self.num_batches_tracked == SETTLED
        )

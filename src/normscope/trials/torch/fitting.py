# pyright: basic
"""Group norm that learns at its first call how many groups fit the input, and takes checkpoints of a batch norm."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from normscope.errors import NormscopeError
from normscope.repairs.conversion.groups import LEAST, groups_for
from normscope.repairs.conversion.targets import BUFFERS
from normscope.trials.outcome import give_up


class FittingGroupNorm(nn.GroupNorm):
    """`wanted` groups or fewer: as many as divide the channels and hold enough values each; as many as channels: instance norm."""

    def __init__(self, channels: int, wanted: int, eps: float, affine: bool) -> None:
        whole = next(g for g in range(min(wanted, channels), 0, -1) if channels % g == 0)
        super().__init__(whole, channels, eps, affine)
        self.wanted = wanted
        self.fitted = False

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        if not self.fitted:
            self._fit(math.prod(input.shape[2:]))
        return super().forward(input)

    def _fit(self, positions: int) -> None:
        self.fitted = True
        each = self.wanted == self.num_channels and self.wanted > 1
        if each and positions < LEAST:
            give_up(
                f"a channel of one sample has {positions} value{'s' if positions > 1 else ''} somewhere: "
                "normalized among themselves they would be erased"
            )
        if not each:
            try:
                self.num_groups = groups_for(self.num_channels, positions, self.wanted)
            except NormscopeError as reason:
                give_up(str(reason))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *rest: Any, **words: Any
    ) -> None:
        """What a batch norm's checkpoint has besides γ and β is left out: this layer has no place for it."""
        for name in BUFFERS:
            state_dict.pop(prefix + name, None)
        super()._load_from_state_dict(state_dict, prefix, *rest, **words)


class Fused(nn.Sequential):
    """A norm and what the batch norm in whose place it stands applied besides, such as an activation.

    Children are `norm` and the others under their own names; a checkpoint of the batch norm names its entries without `norm`.
    """

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *rest: Any, **words: Any
    ) -> None:
        for name in ("weight", "bias", *BUFFERS):
            if (value := state_dict.pop(prefix + name, None)) is not None:
                state_dict[f"{prefix}norm.{name}"] = value
        super()._load_from_state_dict(state_dict, prefix, *rest, **words)

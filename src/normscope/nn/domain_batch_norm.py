# pyright: basic
"""Batch normalization with a set of statistics for each domain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from normscope.nn.layer import BatchNormLayer


class DomainBatchNorm(nn.Module):
    """One batch norm a domain: `norm(x, domain=1)`, or `with in_domain(model, 1): model(x)`.

    Batches of source and target, or of real and generated samples, have different statistics; one running average of both
    fits neither, so that evaluation differs from training (Chang et al. 2019, https://arxiv.org/abs/1906.03950; AdaBN, Li et al. 2016,
    https://arxiv.org/abs/1603.04779). A batch must be of one domain.

    `norms[k]` is the batch norm of domain k: what freezes, refreshes or synchronizes batch norms does so with each. With
    `shared_affine` they hold the very same γ and β.

    A state dict of `torch.nn.BatchNorm2d` loads: every domain then starts from its statistics.

    Args:
        num_features: C, of an input (N, C) or (N, C, *).
        domains: how many.
        shared_affine: one γ and β for all domains; else one for each.
    """

    def __init__(
        self,
        num_features: int,
        domains: int = 2,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        shared_affine: bool = True,
    ) -> None:
        if domains < 1:
            raise ValueError(f"domains must be at least 1, got {domains}")
        super().__init__()
        words = {"device": device, "dtype": dtype}
        self.norms = nn.ModuleList(
            BatchNormLayer(num_features, eps, momentum, affine, track_running_stats, **words)
            for _ in range(domains)
        )
        self.num_features = num_features
        self.shared_affine = shared_affine
        self.domain = 0
        if shared_affine and affine:
            first, *others = self.norms
            for norm in others:
                norm.weight, norm.bias = first.weight, first.bias

    def forward(self, input: Tensor, domain: int | None = None) -> Tensor:  # noqa: A002
        """`domain`: which one the batch is of; by default that of `in_domain`, outside it 0."""
        chosen = self.domain if domain is None else domain
        _check(chosen, self)
        return self.norms[chosen](input)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *rest: Any, **words: Any
    ) -> None:
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            if (value := state_dict.pop(prefix + name, None)) is not None:
                for k in range(len(self.norms)):
                    state_dict.setdefault(f"{prefix}norms.{k}.{name}", value)
        super()._load_from_state_dict(state_dict, prefix, *rest, **words)

    def extra_repr(self) -> str:
        return f"domain={self.domain}, shared_affine={self.shared_affine}"


@contextmanager
def in_domain(model: nn.Module, domain: int) -> Iterator[None]:
    """Within the block every `DomainBatchNorm` of `model` takes its input to be of that domain."""
    layers = [m for m in model.modules() if isinstance(m, DomainBatchNorm)]
    for layer in layers:
        _check(domain, layer)
    before = [layer.domain for layer in layers]
    try:
        for layer in layers:
            layer.domain = domain
        yield
    finally:
        for layer, old in zip(layers, before, strict=True):
            layer.domain = old


def _check(domain: int, layer: DomainBatchNorm) -> None:
    if not 0 <= domain < len(layer.norms):
        raise ValueError(
            f"domain {domain} was asked for, but there are {len(layer.norms)}: 0 to {len(layer.norms) - 1}"
        )

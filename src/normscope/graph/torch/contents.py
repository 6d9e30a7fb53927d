# pyright: basic
"""What a module holds, as PyTorch itself tells it.

Users override `parameters()`: a list for meta-learning, a method with arguments, only the trainable ones; or they keep a replay memory
as `self.buffers`. PyTorch's own methods are asked, so that neither can mislead an observer, stop it, or run by its doing.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn


def named_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return nn.Module.named_parameters(module)


def parameters(module: nn.Module, *, recurse: bool = True) -> Iterator[nn.Parameter]:
    return (p for _, p in nn.Module.named_parameters(module, recurse=recurse))


def named_buffers(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    return nn.Module.named_buffers(module)


def buffers(module: nn.Module) -> Iterator[torch.Tensor]:
    return (b for _, b in nn.Module.named_buffers(module))


def named_modules(
    module: nn.Module, prefix: str = "", *, remove_duplicate: bool = True
) -> Iterator[tuple[str, nn.Module]]:
    return nn.Module.named_modules(module, prefix=prefix, remove_duplicate=remove_duplicate)


def modules(module: nn.Module) -> Iterator[nn.Module]:
    return (m for _, m in nn.Module.named_modules(module))


def children(module: nn.Module) -> Iterator[nn.Module]:
    return (m for _, m in nn.Module.named_children(module))

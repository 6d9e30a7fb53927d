# pyright: basic
"""Exchanging a module wherever a model holds it: by attribute, in containers, and in plain lists and dicts; its hooks go along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def replace_everywhere(model: nn.Module, new: Mapping[nn.Module, nn.Module]) -> None:
    """Put `new[m]` in the place of every `m` that the model reaches, once for each place; modules inside `new` are left alone."""
    for old, module in new.items():
        _take_hooks(module, old)
    known = list(model.modules())
    for module in known:
        for name, child in module._modules.items():
            if child is not None and child in new:
                module._modules[name] = new[child]
        for name, value in vars(module).items():
            if name not in ("_modules", "_parameters", "_buffers") and _holds(value, new):
                object.__setattr__(module, name, _replaced(value, new))


def _take_hooks(new: nn.Module, old: nn.Module) -> None:
    """What a user hung on the old layer happens at the new one; copies, for others may be hung on one of the two."""
    for name in HOOKS:
        hooks = getattr(old, name)
        if hooks:
            setattr(new, name, type(hooks)(hooks))
    new._is_full_backward_hook = old._is_full_backward_hook


def _holds(value: Any, new: Mapping[nn.Module, nn.Module]) -> bool:
    if isinstance(value, nn.Module):
        return value in new
    if type(value) in (list, tuple):
        return any(_holds(v, new) for v in value)
    return type(value) is dict and any(_holds(v, new) for v in value.values())


def _replaced(value: Any, new: Mapping[nn.Module, nn.Module]) -> Any:
    """Lists and dicts are changed in place: somebody else may hold them too."""
    if isinstance(value, nn.Module):
        return new.get(value, value)
    if type(value) is list:
        value[:] = [_replaced(v, new) for v in value]
    elif type(value) is dict:
        value.update({k: _replaced(v, new) for k, v in value.items()})
    elif type(value) is tuple:
        return tuple(_replaced(v, new) for v in value)
    return value

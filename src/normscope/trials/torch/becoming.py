# pyright: basic
"""A module that becomes another in place: whoever holds it, in whatever way, holds the new one from then on."""

from __future__ import annotations

from torch import nn

PUT_THERE = (
    "_put_there_by_trial"  # an attribute that copies and pickles of an exchanged layer have, too
)
HOOKS = tuple(name for name in vars(nn.Module()) if "hook" in name)


def put_there(layer: object) -> bool:
    """Whether an arm put this layer there, or one that it was copied from."""
    return PUT_THERE in vars(layer) if isinstance(layer, nn.Module) else False


def become(module: nn.Module, new: nn.Module) -> None:
    """Give `module` the class and the state of `new`; its hooks stay. Identity, and with it every reference, is unchanged."""
    state = dict(vars(new))
    for name in HOOKS:
        held = vars(module).get(name)
        if isinstance(held, dict):
            state[name].update(held)  # into the very dict that handles of the new one's hooks know
    module.__class__ = new.__class__
    vars(module).clear()
    vars(module).update(state)

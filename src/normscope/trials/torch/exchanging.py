# pyright: basic
"""Norm layers exchanged in a running script, when its optimizer is built or at the first use, wherever they are held."""

from __future__ import annotations

import gc
import weakref
from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.errors import NormscopeError
from normscope.nn.batch_renorm import BatchRenorm
from normscope.nn.frozen_batch_norm import FrozenBatchNorm
from normscope.nn.ghost_batch_norm import GhostBatchNorm
from normscope.repairs.conversion.besides import besides
from normscope.repairs.conversion.groups import usual_groups
from normscope.repairs.conversion.targets import take_over
from normscope.trials.outcome import give_up
from normscope.trials.patches import Patches
from normscope.trials.torch.becoming import PUT_THERE, become, put_there
from normscope.trials.torch.calling import allowed
from normscope.trials.torch.first_batch import FirstBatchMap
from normscope.trials.torch.fitting import FittingGroupNorm, Fused

Make = Callable[[_BatchNorm], nn.Module]
# Shares of a run of about 130 000 steps in the paper: 5 000, 40 000 and 25 000 steps (Ioffe 2017, section 3.1).
WARMUP, R_RELAXED, D_RELAXED = 0.04, 0.3, 0.19


def refuse(reason: str) -> NoReturn:
    """The arm cannot be tried: the run ends here."""
    give_up(reason)


class Touch:
    """Does something to every batch norm that lives, and to later ones before they are first used; `count` tells to how many."""

    def __init__(self, touch: Callable[[_BatchNorm], None]) -> None:
        self._touch = touch
        self._pending = True
        self._done: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self.count = 0

    def install(self, patches: Patches) -> None:
        """Look again whenever a norm was built, and a module is called or given a checkpoint: a fresh model that is to hold what an
        exchanged one has saved must have its layers.
        """
        init = nn.modules.batchnorm._NormBase.__init__
        load = nn.Module.load_state_dict
        touch = self

        def noted(self: Any, *args: Any, **kwargs: Any) -> None:
            touch._pending = True
            init(self, *args, **kwargs)

        def before_use(module: nn.Module, inputs: Any) -> None:
            del module, inputs
            if touch._pending:
                touch.all()

        @wraps(load)
        def loaded(self: Any, *args: Any, **kwargs: Any) -> Any:
            if touch._pending:
                touch.all()
            return load(self, *args, **kwargs)

        patches.set(nn.modules.batchnorm._NormBase, "__init__", noted)
        patches.set(nn.Module, "load_state_dict", loaded)
        patches.then(nn.modules.module.register_module_forward_pre_hook(before_use).remove)

    def spare(self) -> None:
        """Leave alone all that live already."""
        self._done.update(t for t in gc.get_objects() if issubclass(type(t), _BatchNorm))

    def all(self) -> None:
        """All that there are now: copies and loaded ones, which nobody built, are found as well.

        By their type itself: asking some objects what they are instances of runs code of theirs.
        """
        for thing in gc.get_objects():
            if not issubclass(type(thing), _BatchNorm):
                continue
            if thing not in self._done and not put_there(thing):
                self._done.add(thing)
                self._touch(thing)
                self.count += 1
        self._pending = False  # what was built meanwhile is ours


class Exchange(Touch):
    """Exchanges every batch norm for what `make` gives."""

    def __init__(self, make: Make) -> None:
        super().__init__(lambda norm: _exchanged(norm, make))


def _exchanged(norm: _BatchNorm, make: Make) -> None:
    try:
        with allowed():
            more = besides(norm)
        new = kept(norm, make(norm))
    except NormscopeError as reason:
        refuse(f"a {type(norm).__name__} cannot be exchanged: {reason}")
    become(norm, Fused(OrderedDict([("norm", new), *more])) if more else new)


def kept(norm: _BatchNorm, new: nn.Module) -> nn.Module:
    """The new layer with the parameters, buffers and mode of the old one."""
    vars(new)[PUT_THERE] = True
    return take_over(new, norm)


def maker(kind: str, value: float | None, steps: int | None) -> Make:
    """How a batch norm becomes what the arm wants; `steps` of the unchanged run, for schedules."""
    match kind:
        case "group":
            return lambda norm: _grouped(norm, int(value or usual_groups(norm.num_features)))
        case "layer":
            return lambda norm: _grouped(norm, 1)
        case "instance":
            return lambda norm: _grouped(norm, norm.num_features)
        case "renorm":
            return lambda norm: _renorm(norm, steps)
        case "ghost":
            return lambda norm: GhostBatchNorm(norm.num_features, int(value or 32), **_words(norm))
        case "none":
            return lambda norm: _without(norm)
        case _:
            raise ValueError(f"the arm {kind} exchanges no layer")


def frozen(norm: _BatchNorm) -> nn.Module:
    """Its statistics as they are, from now on; γ and β learn on."""
    return FrozenBatchNorm(norm.num_features, **_words(norm), trainable_affine=True)


def _words(norm: _BatchNorm) -> dict[str, Any]:
    return {"eps": norm.eps, "momentum": norm.momentum, "affine": norm.affine}


def _grouped(norm: _BatchNorm, groups: int) -> nn.Module:
    return FittingGroupNorm(norm.num_features, groups, norm.eps, norm.affine)


def _renorm(norm: _BatchNorm, steps: int | None) -> nn.Module:
    """With the paper's schedule, shortened to the run's length where that is known."""
    if not steps:
        return BatchRenorm(norm.num_features, **_words(norm))
    return BatchRenorm(
        norm.num_features,
        **_words(norm),
        warmup=int(WARMUP * steps),
        r_steps=max(1, int(R_RELAXED * steps)),
        d_steps=max(1, int(D_RELAXED * steps)),
    )


def _without(norm: _BatchNorm) -> nn.Module:
    return FirstBatchMap(norm.num_features, **_words(norm), trainable_affine=True)

# pyright: basic
"""State dicts: what each norm layer was given by those that the script loads, and what it was not."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.compiler import is_compiling
from torch.nn.modules.module import _IncompatibleKeys

from normscope.graph.model import Site
from normscope.graph.torch import contents
from normscope.record.guard import guarded
from normscope.record.recording import Layer, Loaded
from normscope.record.torch import live
from normscope.record.torch.norms import kind_of
from normscope.record.torch.stack import user_site

if TYPE_CHECKING:
    from normscope.record.torch.observer import Observer

STATISTICS = ("running_mean", "running_var")


@dataclass(slots=True)
class Given:
    """What one layer has got from all state dicts so far: a checkpoint may come in several pieces."""

    parameters: bool = False
    statistics: bool = False
    misnamed: bool = False
    step: int = 0
    site: Site | None = None

    @property
    def loaded(self) -> Loaded | None:
        if self.parameters:
            return "complete" if self.statistics else "parameters"
        return "misnamed" if self.misnamed else None


class Checkpoints:
    """Entry point of `load_state_dict`, and what is known from it of each norm layer, called or not."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self._given: weakref.WeakKeyDictionary[nn.Module, Given] = weakref.WeakKeyDictionary()
        self._whole: weakref.WeakSet[nn.Module] = weakref.WeakSet()  # once got everything
        # A model that is loaded and evaluated inside a function is gone before the next look at it.
        observer.registry.on_adopted.append(self.describe)

    @guarded
    def loaded(self, module: nn.Module, unmatched: _IncompatibleKeys) -> None:
        """A state dict was loaded into `module`; `unmatched` are the keys that only one of the two has."""
        if module in self._whole or not isinstance(unmatched, _IncompatibleKeys):
            return
        began = perf_counter()
        self._note(module, set(unmatched.missing_keys), set(unmatched.unexpected_keys))
        if not unmatched.missing_keys:
            self._whole.add(module)
        self.observer.schedule.charge(perf_counter() - began)

    def _note(self, module: nn.Module, missing: set[str], unexpected: set[str]) -> None:
        step, site = self.observer.steps.count, user_site(2)
        for norm, now in given_by(module, missing, unexpected):
            given = self._given.setdefault(norm, Given())
            given.statistics = given.statistics or now.statistics
            given.misnamed = given.misnamed or now.misnamed
            if now.parameters or (given.misnamed and not given.parameters):
                given.parameters = given.parameters or now.parameters
                given.step, given.site = step, site

    def describe(self, record: Layer, module: nn.Module | None) -> None:
        """Put what is known into the layer's record."""
        given = None if module is None else self._given.get(module)
        if given is not None:
            record.loaded = given.loaded
            record.loaded_step, record.loaded_site = given.step, given.site


def given_by(
    module: nn.Module, missing: set[str], unexpected: set[str]
) -> Iterator[tuple[nn.Module, Given]]:
    """What one state dict gives each norm layer of `module`: all but its `missing` keys; it has `unexpected` ones besides."""
    norms = [(p, m) for p, m in contents.named_modules(module) if kind_of(m) is not None]
    if not norms:
        return
    absent = [name in missing for name, _ in contents.named_parameters(module)]
    nothing = bool(absent) and all(absent)
    other = _other_names((_key(p, "running_mean") for p, _ in norms), unexpected)
    for path, norm in norms:
        own = [_key(path, n) for n, p in norm._parameters.items() if p is not None]
        # A layer without scale and shift goes with the rest of the model.
        got = any(k not in missing for k in own) if own else not any(absent)
        renamed = bool(nothing and other and other(_key(path, "running_mean")) in unexpected)
        yield norm, Given(got, _got_statistics(path, norm, missing), renamed)


def _key(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _got_statistics(path: str, norm: nn.Module, missing: set[str]) -> bool:
    """Whether all running statistics that the layer keeps came along; True for one that keeps none."""
    kept = [n for n in STATISTICS if norm._buffers.get(n) is not None]
    unsaved = norm._non_persistent_buffers_set
    return all(_key(path, n) not in missing and n not in unsaved for n in kept)


def _other_names(expected: Iterable[str], unexpected: set[str]) -> Callable[[str], str] | None:
    """How a key is called under the other prefix that the state dict uses for all its keys; None if there is none."""
    for key in expected:
        for found in unexpected:
            if found.endswith("." + key):
                extra = found.removesuffix(key)
                return lambda k: extra + k
            if key.endswith("." + found):
                lacking = key.removesuffix(found)
                return lambda k: k.removeprefix(lacking)
    return None


def load_state_dict(original: Callable[..., Any]) -> Callable[..., Any]:
    """The wrapper of `nn.Module.load_state_dict`."""

    def load_state_dict(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        if not is_compiling() and (observer := live.observer[0]) is not None:
            observer.checkpoints.loaded(self, result)
        return result

    return load_state_dict

# pyright: basic
"""One pass of kept batches through a model in evaluation mode, with listeners at its batch norms and activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from normscope.graph.torch import contents
from normscope.probes.clock import now
from normscope.probes.replay import replay, set_mode
from normscope.record.torch.batches import Kept

AtNorm = Callable[[Kept, _BatchNorm, torch.Tensor, torch.Tensor], None]  # its input and output


def visit(
    model: nn.Module, batches: Sequence[Kept], listeners: Sequence[AtNorm], deadline: float
) -> list[Kept]:
    """Replay batches until the deadline, one at least; those that were. To be called inside `untouched`."""
    set_mode(model)
    current: list[Kept] = []
    seen: list[Kept] = []

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        x = args[0] if args else kwargs.get("input")
        if not (isinstance(x, torch.Tensor) and isinstance(out, torch.Tensor) and x.ndim >= 2):
            return
        if isinstance(module, _BatchNorm):
            for listener in listeners:
                listener(current[-1], module, x.detach(), out.detach())

    norms = [m for m in contents.modules(model) if isinstance(m, _BatchNorm)]
    handles = [m.register_forward_hook(note, with_kwargs=True) for m in norms]
    try:
        for batch in batches:
            current[:] = [batch]
            replay(model, batch)
            seen.append(batch)
            if now() > deadline:
                break
    finally:
        for handle in handles:
            handle.remove()
    return seen


@contextmanager
def paths(model: nn.Module) -> Iterator[list[str]]:
    """The paths of the modules that are running, innermost last."""
    running: list[str] = []
    handles: list[Any] = []
    for path, module in contents.named_modules(model):

        def enter(_: nn.Module, __: Any, path: str = path) -> None:
            running.append(path)

        def leave(_: nn.Module, __: Any, ___: Any) -> None:
            running.pop()

        handles += [
            module.register_forward_pre_hook(enter),
            module.register_forward_hook(leave, always_call=True),
        ]
    try:
        yield running
    finally:
        for handle in handles:
            handle.remove()


class Calls(TorchFunctionMode):
    """Hands each call of a function of torch to `handle` under its plain name: `sigmoid` for its method and its
    functional form alike. Inner calls of a function of torch are not seen."""

    def __init__(self, handle: Callable[[str, Any, tuple[Any, ...], dict[str, Any]], Any]) -> None:
        super().__init__()
        self.handle = handle

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "").removesuffix("_")
        return self.handle(name, func, args, kwargs or {})

# pyright: basic
"""The graph of a model: captured in its first training forward, once."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from normscope.graph.torch import Capture
from normscope.record.guard import guarded
from normscope.record.torch.roots import Root

if TYPE_CHECKING:
    from normscope.record.torch.observer import Observer


class GraphCapture:
    """Captures graphs, until something is compiled: under a dispatch mode dynamo would fall back to eager."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self._entered = 0.0

    @guarded
    def begin(
        self, root: Root, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Capture | None:
        """A capture of this call, if it is the first training forward of a model with norm layers."""
        observer = self.observer
        wanted = (
            not root.captured and root.layers and torch.is_grad_enabled() and not observer.compiled
        )
        if not wanted or not (module.training or observer.steps.count):
            return None
        root.captured = True
        began = perf_counter()
        capture = Capture(module, model_id=root.record.id)
        capture.inputs(args, kwargs)
        observer.schedule.charge_startup(perf_counter() - began)
        return capture

    @guarded
    def enter(self, capture: Capture) -> bool:
        self._entered = perf_counter()
        capture.__enter__()
        return True

    @guarded
    def leave(self, capture: Capture) -> None:
        capture.__exit__(None, None, None)
        self.observer.schedule.charge_startup(perf_counter() - self._entered)

    @guarded
    def keep(self, capture: Capture, out: Any) -> None:
        began = perf_counter()
        self.observer.store.put_graph(capture.graph(out))
        self.observer.schedule.charge_startup(perf_counter() - began)

    @guarded
    def compiling(self, model: Any) -> None:
        """The script compiles something: no captures from here on."""
        self.observer.compiled = True
        name = (
            type(model).__name__
            if isinstance(model, nn.Module)
            else getattr(model, "__name__", "a function")
        )
        self.observer.books.event(
            "compiled",
            detail=f"{name} is compiled: its running statistics are observed, its calls are not",
        )

# pyright: basic
"""Asking a model without leaving a trace: whatever happens inside, its state and the process' come back."""

from __future__ import annotations

import io
import logging
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Give back modes, buffers, attributes, gradient flags and random states; nothing is printed, logged or warned.

    What a forward pass does to the inside of a user's own object (a list that it appends to) is out of reach. Parameters are
    not copied: no gradient is computed and no optimizer runs.
    """
    restore = [*_modules(model), *_flags(model), *_random_states()]
    quiet = logging.root.manager.disable
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(warnings.catch_warnings())
            stack.enter_context(redirect_stdout(io.StringIO()))
            stack.enter_context(redirect_stderr(io.StringIO()))
            if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            warnings.simplefilter("ignore")
            logging.disable(logging.CRITICAL)
            yield
    finally:
        logging.disable(quiet)
        for undo in reversed(restore):
            undo()


def _modules(model: nn.Module) -> list[Callable[[], None]]:
    """For each module: its attributes as they are, the registered tensors by name, the values of buffers."""
    undo: list[Callable[[], None]] = []
    for module in model.modules():
        undo.append(_attributes(module))
        values = {
            name: (b, b.detach().clone())
            for name, b in module._buffers.items()
            if isinstance(b, torch.Tensor) and not isinstance(b, UninitializedBuffer)
        }
        if values:
            undo.append(_values(values))
    return undo


def _attributes(module: nn.Module) -> Callable[[], None]:
    plain, registered = dict(vars(module)), dict(module._buffers)
    training = module.training

    def undo() -> None:
        if isinstance(module, torch.jit.ScriptModule):
            module.training = training  # its attributes live outside Python
            return
        module._buffers.clear()
        module._buffers.update(registered)
        vars(module).clear()
        vars(module).update(plain)

    return undo


def _values(values: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> Callable[[], None]:
    def undo() -> None:
        with torch.no_grad():
            for buffer, value in values.values():
                buffer.copy_(value)

    return undo


def _flags(model: nn.Module) -> list[Callable[[], None]]:
    kept = [(p, p.requires_grad) for p in model.parameters()]

    def undo() -> None:
        for parameter, flag in kept:
            if parameter.requires_grad != flag:
                parameter.requires_grad_(flag)

    return [undo]


def _random_states() -> list[Callable[[], Any]]:
    cpu, python = torch.get_rng_state(), random.getstate()
    found: list[Callable[[], Any]] = [
        lambda: torch.set_rng_state(cpu),
        lambda: random.setstate(python),
    ]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        cuda = torch.cuda.get_rng_state_all()
        found.append(lambda: torch.cuda.set_rng_state_all(cuda))
    if (numpy := sys.modules.get("numpy")) is not None:
        state = numpy.random.get_state()
        found.append(lambda: numpy.random.set_state(state))
    return found

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

from normscope.graph.torch import contents


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Give back modes, buffers, attributes, gradient flags and random states; nothing is printed, logged or warned.

    What a forward pass does to the inside of a user's own object (a list that it appends to) is out of reach. Parameters are
    not copied: no gradient is computed and no optimizer runs.
    """
    restore = [*_modules(model), *_random_states()]
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


@contextmanager
def undrawn() -> Iterator[None]:
    """Give back random states: what is drawn inside, as a shuffled loader does, is as if it had not been drawn."""
    restore = _random_states()
    try:
        yield
    finally:
        for undo in restore:
            undo()


def _modules(model: nn.Module) -> list[Callable[[], None]]:
    """For each module: its attributes as they are, the registered tensors by name; values of buffers, flags of parameters."""
    undo: list[Callable[[], None]] = []
    buffers: list[torch.Tensor] = []
    parameters: list[torch.Tensor] = []
    for module in contents.modules(model):
        undo.append(_attributes(module))
        parameters += [p for p in module._parameters.values() if p is not None]
        buffers += [
            b
            for b in module._buffers.values()
            if isinstance(b, torch.Tensor) and not isinstance(b, UninitializedBuffer)
        ]
    return [_flags(parameters), _values(buffers), *undo]


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


def _values(buffers: list[torch.Tensor]) -> Callable[[], None]:
    with torch.no_grad():
        values = [b.clone() for b in buffers]

    def undo() -> None:
        with torch.no_grad():
            for buffer, value in zip(buffers, values, strict=True):
                buffer.copy_(value)

    return undo


def _flags(parameters: list[torch.Tensor]) -> Callable[[], None]:
    flags = [p.requires_grad for p in parameters]

    def undo() -> None:
        for parameter, flag in zip(parameters, flags, strict=True):
            if parameter.requires_grad != flag:
                parameter.requires_grad_(flag)

    return undo


def _random_states() -> list[Callable[[], Any]]:
    cpu, python = torch.get_rng_state(), random.getstate()
    found: list[Callable[[], Any]] = [
        lambda: torch.set_rng_state(cpu),
        lambda: random.setstate(python),
    ]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        cuda = torch.cuda.get_rng_state_all()
        found.append(lambda: torch.cuda.set_rng_state_all(cuda))
    if (numpy := sys.modules.get("numpy.random")) is not None:  # else nobody drew from it yet
        state = numpy.get_state()
        found.append(lambda: numpy.set_state(state))
    return found

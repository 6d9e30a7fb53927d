# pyright: basic
"""The few functions of PyTorch that are wrapped, once per process and for good.

Taking a wrapper out in the middle of a run would make compiled code recompile, so that wrappers stay and become
transparent when no observer is live. Every wrapper first asks whether it is being compiled: then it is the plain
function, and a compiled graph is the same with and without observation.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial, update_wrapper
from inspect import signature
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.compiler import is_compiling, is_dynamo_compiling
from torch.jit import _script as torch_script  # pyright: ignore[reportAttributeAccessIssue]
from torch.jit._builtins import _register_builtin
from torch.jit._state import _set_jit_function_cache

from normscope.nn import batch_norm, batch_renorm
from normscope.record.torch import live
from normscope.record.torch.asking import asking
from normscope.record.torch.checkpoints import load_state_dict

LOSSES = (
    "cross_entropy",
    "nll_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
)
# Every module of every forward passes here, and every step there: see `asking`.
CALLED = """
if not compiling() and (observer := live.observer[0]) is not None and not observer.inside:
    return observer.call(call, self, args, kwargs)
"""
BACKWARD = """
if not compiling() and (observer := live.observer[0]) is not None:
    if not observer.open:
        return observer.backwards.run(
            call, tensors, grad_tensors, retain_graph, create_graph, grad_variables, inputs
        )
    observer.used = True  # of a counted step: no more than this
"""
# Dynamo takes the original as a whole: it would take ours to pieces.
BATCH_NORM = """
if compiling():
    return call(input, running_mean, running_var, weight, bias, training, momentum, eps)
if (observer := live.observer[0]) is not None and not observer.quiet:
    return observer.norms.run(
        call, input, running_mean, running_var, weight, bias, training, momentum, eps
    )
"""
# `{options}`: everything after the first two, by its name.
LOSS = """
if compiling():
    return call(input, target, {options})
if (observer := live.observer[0]) is not None and (not observer.open or observer.copying):
    observer.losses.loss({name!r}, input, target, (), dict({options}))
"""
DECISIONS = ("argmax", "max", "topk")  # a class decision, when they meet a model's output
THRESHOLDS = ("__gt__", "__ge__", "__lt__", "__le__", "gt", "ge", "lt", "le")
_taught: list[bool] = []
_wrappers: dict[int, Callable[..., Any]] = {}  # by the id of the original
originals: dict[str, Callable[..., Any]] = {}


def install() -> None:
    """Wrap what is not wrapped yet."""
    if originals:
        return
    _patch(nn.Module, "__call__", partial(asking, question=CALLED, otherwise=_call))
    _patch(F, "batch_norm", partial(asking, question=BATCH_NORM, otherwise=_batch_norm))
    for module in (batch_norm, batch_renorm):
        # What our own layers run in training, with the words of `F.batch_norm` first.
        name = module.__name__.rpartition(".")[2]
        _patch(module, name, _batch_norm, key=module.__name__)
    for name in ("instance_norm", "group_norm", "layer_norm"):
        _patch(F, name, partial(_other_norm, kind=name.removesuffix("_norm")))
    _patch(nn.Module, "load_state_dict", load_state_dict)
    for name in LOSSES:
        question = LOSS.format(name=name, options=_options(getattr(F, name)))
        _patch(F, name, partial(asking, question=question, otherwise=partial(_loss, name=name)))
    for name in DECISIONS:
        _patch(torch.Tensor, name, _decision, key=f"Tensor.{name}")
        _patch(torch, name, _decision)
        # TorchScript takes `torch.max` for its builtin by identity.
        _register_builtin(getattr(torch, name), f"aten::{name}")
    for name in THRESHOLDS:
        _patch(torch.Tensor, name, _threshold, key=f"Tensor.{name}")
    run_back = partial(asking, question=BACKWARD, otherwise=_backward)
    _patch(torch.autograd, "backward", run_back)
    _patch(torch.autograd, "grad", _backward)
    _patch(torch.amp.GradScaler, "scale", _scale)
    _patch(torch, "compile", _compile)
    _patch(torch.jit, "script", _script)
    _patch(torch.jit, "trace", _trace)
    _patch(torch_script, "script", _script)
    _rebind()


def _patch(
    owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]], key: str = ""
) -> None:
    original = originals.setdefault(key or name, getattr(owner, name))
    wrapper = update_wrapper(make(original), original)
    setattr(owner, name, wrapper)
    if isinstance(owner, ModuleType):
        _wrappers[id(original)] = wrapper


def _rebind() -> None:
    """Names that `from torch.nn.functional import …` bound before, in modules outside the framework, follow."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("torch", "normscope") or not isinstance(module, ModuleType):
            continue
        space = vars(module)
        for key, value in list(space.items()):
            if (wrapper := _wrappers.get(id(value))) is not None:
                space[key] = wrapper


def _batch_norm(original: Callable[..., Any]) -> Callable[..., Any]:
    def batch_norm(
        input: torch.Tensor,  # noqa: A002
        running_mean: torch.Tensor | None,
        running_var: torch.Tensor | None,
        weight: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
        *more: Any,
    ) -> torch.Tensor:
        words = (input, running_mean, running_var, weight, bias, training, momentum, eps, *more)
        observer = None if is_dynamo_compiling() else live.observer[0]
        if observer is None or observer.quiet:
            return original(*words)
        return observer.norms.run(original, *words)

    return batch_norm


def _other_norm(original: Callable[..., Any], kind: str) -> Callable[..., Any]:
    def norm(input: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A002
        out = original(input, *args, **kwargs)
        observer = None if is_dynamo_compiling() else live.observer[0]
        if observer is not None and not observer.quiet and not is_compiling():
            observer.norms.other_norm(kind, input, args, kwargs)
        return out

    return norm


def _options(loss: Callable[..., Any]) -> str:
    """`a=a, b=b` for all that a loss function takes beside input and target."""
    return ", ".join(f"{name}={name}" for name in list(signature(loss).parameters)[2:])


def _loss(original: Callable[..., Any], name: str) -> Callable[..., Any]:
    def loss(input: Any, target: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A002
        observer = None if is_dynamo_compiling() else live.observer[0]
        if observer is not None and (not observer.open or observer.copying) and not is_compiling():
            observer.losses.loss(name, input, target, args, kwargs)
        return original(input, target, *args, **kwargs)

    return loss


def _decision(original: Callable[..., Any]) -> Callable[..., Any]:
    def decision(input: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A002
        if not is_compiling() and (observer := live.observer[0]) and not observer.inside:
            observer.losses.decision(input)
        return original(input, *args, **kwargs)

    return decision


def _threshold(original: Callable[..., Any]) -> Callable[..., Any]:
    def compare(self: Any, other: Any) -> Any:
        if not is_compiling() and (observer := live.observer[0]) and not observer.inside:
            observer.losses.threshold(self, other)
        return original(self, other)

    return compare


def _call(original: Callable[..., Any]) -> Callable[..., Any]:
    def __call__(self: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        observer = None if is_compiling() else live.observer[0]
        if observer is None or observer.inside:
            return original(self, *args, **kwargs)
        return observer.call(original, self, args, kwargs)

    return __call__


def _backward(original: Callable[..., Any]) -> Callable[..., Any]:
    def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        observer = None if is_compiling() else live.observer[0]
        if observer is None:
            return original(tensors, *args, **kwargs)
        if observer.open:
            observer.used = True
            return original(tensors, *args, **kwargs)
        return observer.backwards.run(original, tensors, *args, **kwargs)

    return backward


def _scale(original: Callable[..., Any]) -> Callable[..., Any]:
    def scale(self: Any, outputs: Any) -> Any:
        result = original(self, outputs)
        if observer := live.observer[0]:
            observer.losses.scaled(outputs, result)
        return result

    return scale


def _compile(original: Callable[..., Any]) -> Callable[..., Any]:
    def compile(*args: Any, **kwargs: Any) -> Any:  # noqa: A001
        if observer := live.observer[0]:
            observer.graph.compiling(args[0] if args else kwargs.get("model"))
        return original(*args, **kwargs)

    return compile


def _script(original: Callable[..., Any]) -> Callable[..., Any]:
    def script(*args: Any, **kwargs: Any) -> Any:
        _teach_script_cache()
        return original(*args, **kwargs)

    return script


def _trace(original: Callable[..., Any]) -> Callable[..., Any]:
    def trace(func: Any, *args: Any, **kwargs: Any) -> Any:
        made = original(func, *args, **kwargs)
        if isinstance(func, nn.Module) and (observer := live.observer[0]):
            observer.traces.made(func, made)
        return made

    return trace


def _teach_script_cache() -> None:
    """Tell TorchScript to compile a wrapped function's original wherever it meets the wrapper."""
    if _taught:
        return
    _taught.append(True)  # first: compiling an original comes through here again
    for name in ("batch_norm", "instance_norm", "group_norm", "layer_norm", *LOSSES):
        _set_jit_function_cache(getattr(F, name), originals["script"](originals[name]))

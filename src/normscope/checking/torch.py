# pyright: basic
"""A PyTorch model as evidence: what its norm layers are, and its graph in training and in evaluation mode."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import torch
from torch import nn

from normscope.checking.inputs import InputSpec
from normscope.checking.shapes import shapes_alone, without_values
from normscope.checking.target import prints_to_stderr, shortened, user_code
from normscope.errors import NormscopeError
from normscope.graph.model import Graph, Norm, Site
from normscope.graph.torch import capture, tensors_of
from normscope.graph.torch.location import CALLERS
from normscope.record.recording import CHECKED, Channels, Layer, Loaded, Model, Recording
from normscope.record.torch.norms import describe, is_lazy, kind_of, name_of, norms_in


@dataclass(frozen=True, slots=True)
class Example:
    """A model, and what it is called with: None where nobody said."""

    model: nn.Module
    args: tuple[Any, ...] | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])


def example_of(made: Any, target: str) -> Example:
    """What a factory returned: a model, `(model, inputs)`, or `(model, inputs, keyword inputs)`.

    A list or tuple holds one value for each parameter; a dict whose keys are all names of `forward`'s parameters is passed
    by name; anything else (a tensor, a named tuple, another dict, a dataclass) is one value. Raises NormscopeError for
    what is no model.
    """
    if inspect.iscoroutine(made):
        made.close()  # else it would complain that nobody waited for it
    match made:
        case nn.Module():
            return Example(_whole(made, target))
        case (nn.Module() as model, inputs, dict() as words) if type(made) is tuple:
            return Example(_whole(model, target), _positional(inputs), words)
        case (nn.Module() as model, dict() as inputs) if type(made) is tuple:
            model = _whole(model, target)
            known = inspect.signature(model.forward).parameters
            by_name = bool(inputs) and all(name in known for name in inputs)
            return Example(model, (), inputs) if by_name else Example(model, (inputs,))
        case (nn.Module() as model, inputs) if type(made) is tuple:
            return Example(_whole(model, target), _positional(inputs))
        case _:
            raise NormscopeError(
                f"`{target}` gives {_described(made)}, but a torch.nn.Module was expected, alone or with its example inputs: "
                "`return model` or `return model, (x,)`."
            )


def _whole(model: nn.Module, target: str) -> nn.Module:
    """Raises NormscopeError for what only looks like a model."""
    if "_modules" not in vars(model):
        raise NormscopeError(
            f"`{target}` gives a {type(model).__name__} whose `__init__` does not call `super().__init__()`: a module without that "
            "holds no layers."
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise NormscopeError(
            f"`{target}` gives a {type(model).__name__}, but a module of Python code was expected: what runs inside TorchScript "
            "cannot be seen. Return the module before `torch.jit.script` or `torch.jit.trace`."
        )
    return model


def _positional(inputs: Any) -> tuple[Any, ...]:
    return tuple(inputs) if type(inputs) in (list, tuple) else (inputs,)


def _described(made: Any) -> str:
    if made is None:
        return "None"
    try:
        text = shortened(" ".join(repr(made).split()), 60)
    except Exception:  # noqa: BLE001  its own class cannot tell what it is
        return f"a {type(made).__name__}"
    return f"a {type(made).__name__} ({text})"


def tensors_from(specs: Sequence[InputSpec]) -> tuple[torch.Tensor, ...]:
    """Standard normal numbers for floating dtypes, zeros for all others; the user's random state stays as it is."""
    generator = torch.Generator().manual_seed(0)

    def made(spec: InputSpec) -> torch.Tensor:
        dtype = getattr(torch, spec.dtype)
        if dtype.is_floating_point:
            return torch.randn(spec.shape, generator=generator).to(dtype)
        return torch.zeros(spec.shape, dtype=dtype)

    return tuple(map(made, specs))


def static_recording(
    model: nn.Module,
    inputs: Sequence[Any] | None,
    *,
    target: str,
    kwargs: Mapping[str, Any] | None = None,
    loaded: Mapping[nn.Module, Loaded | None] | None = None,
    built: Mapping[nn.Module, Site] | None = None,
) -> Recording:
    """What is known without training: a recording of no steps, with the graphs of both modes where inputs are given.

    `loaded` tells what a checkpoint gave each norm layer, `built` where modules were built. The model is afterwards as before. Raises NormscopeError when its forward pass raises.
    """
    record = Model(
        id=0, name=name_of(model), parameters=_parameters(model), parameters_changed=False
    )
    recording = Recording(target=target, framework="torch", framework_version=torch.__version__)
    recording.status = CHECKED
    recording.models[0] = record
    if inputs is not None:
        recording.graphs = graphs_of(model, inputs, kwargs or {})
    for layer, module in layers_of(model):  # lazy layers are known only after a forward pass
        recording.layers[layer.id] = layer
        layer.loaded = (loaded or {}).get(module)
        layer.site = (built or {}).get(module)
        if (stored := _stored(module)) is not None:
            recording.channels[layer.id] = stored
    record.norm_layers = len(recording.layers)
    lines = {path: built[m] for path, m in model.named_modules() if m in built} if built else {}
    recording.graphs = [_completed(graph, recording.layers, lines) for graph in recording.graphs]
    return recording


def _parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if not is_lazy(p))


def layers_of(model: nn.Module) -> Iterator[tuple[Layer, nn.Module]]:
    """The facts of every norm layer with its module, in the order of the modules."""
    for i, (path, module, registered) in enumerate(norms_in(model)):
        record = Layer(
            id=i,
            model=0,
            path=path,
            type=type(module).__name__,
            kind=kind_of(module) or "batch",
            registered=registered,
        )
        describe(record, module)
        yield record, module


def _stored(module: nn.Module) -> Channels | None:
    """The running statistics, where there are any and they have values."""
    rows = [module._buffers.get(name) for name in ("running_mean", "running_var")]
    if any(t is None or is_lazy(t) or t.is_meta for t in rows):
        return None
    mean, var = (t.detach().double().cpu().numpy().reshape(-1) for t in rows if t is not None)
    return Channels(mean, var)


def graphs_of(model: nn.Module, inputs: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Graph]:
    """The graph in training mode and the graph in evaluation mode, on the meta device where the model allows it."""
    return [_captured(model, inputs, kwargs, training) for training in (True, False)]


def _captured(
    model: nn.Module, inputs: Sequence[Any], kwargs: Mapping[str, Any], training: bool
) -> Graph:
    with _in_mode(model, training):
        if (graph := _without_values(model, inputs, kwargs)) is not None:
            return graph
        shapes = ", ".join(str(tuple(t.shape)) for t in tensors_of((tuple(inputs), dict(kwargs))))
        mode = "training" if training else "evaluation"
        with user_code(f"calling the model in {mode} mode with inputs of {shapes or 'no tensors'}"):
            return capture(model, inputs, kwargs)


def _without_values(
    model: nn.Module, inputs: Sequence[Any], kwargs: Mapping[str, Any]
) -> Graph | None:
    """The graph from shapes alone, None where the model needs values."""
    if any(is_lazy(t) for t in (*model.parameters(), *model.buffers())):
        return None
    try:
        with shapes_alone(model), prints_to_stderr():
            return capture(model, *without_values((tuple(inputs), dict(kwargs))))
    except Exception:  # noqa: BLE001, whatever it is: the same call with values tells it to the user, if it is an error
        return None


CALLERS.update((_captured.__code__, _without_values.__code__))


@contextmanager
def _in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    modes = [(m, m.training) for m in model.modules()]
    try:
        model.train(training)
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _completed(graph: Graph, layers: Mapping[int, Layer], lines: Mapping[str, Site]) -> Graph:
    """The graph with the scales that tensors without values did not tell, and lines where no forward pass of the user's had any."""
    zero = {x.path: x.zero_gamma_at_start for x in layers.values() if x.zero_gamma_at_start}
    if not zero and not lines:
        return graph
    nodes = []
    for n in graph:
        op, site = n.op, n.site or lines.get(n.path)
        if isinstance(op, Norm) and n.path in zero:
            op = msgspec.structs.replace(op, zero_gamma=zero[n.path])
        nodes.append(msgspec.structs.replace(n, op=op, site=site))
    return Graph(nodes, model=graph.model, training=graph.training, coverage=graph.coverage)

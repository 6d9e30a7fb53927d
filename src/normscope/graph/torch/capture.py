"""The context around one forward pass, and a forward pass run for the sake of its graph."""
# pyright: basic

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from normscope.graph.model import Affine, Coverage, Graph, Node, Opaque
from normscope.graph.torch import contents
from normscope.graph.torch.fold import fold
from normscope.graph.torch.recorder import Recorder
from normscope.graph.torch.tensors import tensors_of


class Capture:
    """Records the graph of one real forward pass of `model`, which runs as it would without us.

        with Capture(model) as capture:
            capture.inputs((x,), {})
            y = model(x)
        graph = capture.graph(y)

    Inert (an empty graph with a note) while PyTorch itself traces, exports or compiles. An error of ours ends the
    recording, not the forward pass: the graph then holds what ran before it, and the note says so.
    """

    def __init__(self, model: nn.Module, *, model_id: int = 0) -> None:
        self._model = model
        self._model_id = model_id
        self._training = model.training
        self._mode: _Mode | None = None
        busy = _traced_by()
        self._note = f"No graph: {busy} was active." if busy else ""
        self._recorder = Recorder(model)

    def __enter__(self) -> Capture:
        if not self._note:
            self._mode = _Mode(self)
            self._mode.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        mode, self._mode = self._mode, None
        if mode is not None:
            mode.__exit__(kind, error, traceback)

    def inputs(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> None:
        """Name what enters the model; call before the forward pass. Other tensors count as constants."""
        if not self._note:
            with self._guarded("reading the inputs"):
                for tensor in tensors_of((tuple(args), dict(kwargs or {}))):
                    self._recorder.input(tensor)

    def graph(self, output: object) -> Graph:
        """The graph, with one `Output` node for each tensor in `output`; call once, after the forward pass."""
        recorder = self._recorder
        recorder.outside = True
        if not self._note:
            with self._guarded("reading the outputs"):
                unknown = [t for t in tensors_of(output) if not recorder.output(t)]
                if unknown:
                    self._note = (
                        f"Partial: the origin of {len(unknown)} output tensor(s) was not seen."
                    )
        nodes = [
            Node(
                d.id,
                d.op,
                tuple(d.inputs),
                d.path,
                d.site,
                d.shape,
                d.facts.get("weights", "") if isinstance(d.op, Affine) else "",
            )
            for d in fold(recorder.drafts)
        ]
        opaque = Counter(n.op.name for n in nodes if isinstance(n.op, Opaque))
        coverage = Coverage(
            tuple(name for name, _ in opaque.most_common()),
            recorder.paths.uncalled(recorder.ran, recorder.parameters_read) if nodes else (),
            self._note,
        )
        return Graph(nodes, model=self._model_id, training=self._training, coverage=coverage)

    def observe(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        """Record one operation that has run. Never raises."""
        if self._note or torch._C._current_graph_task_id() != -1:  # a backward pass is running
            return
        try:
            self._recorder.record(func, args, kwargs, result)
        except Exception as error:  # noqa: BLE001, the user's forward pass goes on whatever happens to us
            self._failed(f"`{func}`", error)

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001, as above
            self._failed(what, error)

    def _failed(self, what: str, error: Exception) -> None:
        self._note = f"Partial: recording ended at {what}: {type(error).__name__}: {error}"


class _Mode(TorchDispatchMode):
    supports_higher_order_operators = True

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self._capture = capture

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Compiled parts of a model (`flex_attention` is one) run compiled, not eagerly for our sake."""
        return True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Otherwise the first operation would import the compiler into the user's process."""
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self._capture.observe(func, args, kwargs or {}, result)
        return result


def _traced_by() -> str:
    """What of PyTorch is reading the program at this moment, if anything."""
    if torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return "torch.compile or torch.export"
    if torch._C._get_tracing_state() is not None:
        return "torch.jit.trace"
    key = torch._C._TorchDispatchModeKey.PROXY
    return "a tracing mode" if torch._C._get_dispatch_mode(key) is not None else ""


def capture(
    model: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    model_id: int = 0,
) -> Graph:
    """The graph of `model(*args, **kwargs)`, in the mode that the model is in.

    Buffers and random states are afterwards as before; lazy modules are materialized, as by any first forward pass.
    Raises what the model raises.
    """
    words = dict(kwargs or {})
    with (
        _as_found(model),
        torch.set_grad_enabled(model.training),
        Capture(model, model_id=model_id) as run,
    ):
        run.inputs(args, words)
        output = model(*args, **words)
        return run.graph(output)


@contextmanager
def _as_found(model: nn.Module) -> Iterator[None]:
    """Gives back buffers and random states, and turns off fused inference paths that hide operations."""
    kept = [
        (owner, name, buffer, buffer.detach().clone())
        for owner in contents.modules(model)
        for name, buffer in owner._buffers.items()
        if buffer is not None and not is_lazy(buffer)
    ]
    fused = torch.backends.mha.get_fastpath_enabled()
    python_state = random.getstate()
    numpy = sys.modules.get("numpy")
    numpy_state = numpy.random.get_state() if numpy else None
    cuda = {t.device.index for t in contents.parameters(model) if t.is_cuda}
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[d for d in cuda if d is not None]))
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
            random.setstate(python_state)
            if numpy is not None and numpy_state is not None:
                numpy.random.set_state(numpy_state)
            with torch.no_grad():
                for owner, name, buffer, value in kept:
                    buffer.copy_(value)
                    owner._buffers[name] = buffer

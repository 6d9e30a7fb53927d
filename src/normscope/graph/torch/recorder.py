"""From operations to drafts of nodes, as they run."""
# pyright: basic

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from normscope.graph.model import Activation, Affine, Input, Norm, Op, Opaque, Output, View
from normscope.graph.torch import contents, elementwise, linear, norms, shapes
from normscope.graph.torch.location import Location, locate
from normscope.graph.torch.operation import Draft, Operation, Typed, bind, flat, shape_of, signature
from normscope.graph.torch.paths import Paths
from normscope.graph.torch.values import Stale, Values

READERS = {**elementwise.READERS, **shapes.READERS, **linear.READERS, **norms.READERS}

# Results depend on no value of any argument.
FRESH = frozenset(
    [
        "empty_like",
        "zeros_like",
        "ones_like",
        "full_like",
        "rand_like",
        "randn_like",
        "randint_like",
        "new_empty",
        "new_zeros",
        "new_ones",
        "new_full",
        "new_empty_strided",
    ]
)
# In-place: the old values are gone, and the new ones depend on none.
FILLS = frozenset(
    [
        "fill",
        "zero",
        "normal",
        "uniform",
        "bernoulli",
        "random",
        "exponential",
        "geometric",
        "log_normal",
        "cauchy",
    ]
)
# In-place, but of the tensor's shape only: what it was before can no longer be seen from it.
RESHAPES = frozenset(["t", "transpose", "swapaxes", "swapdims", "squeeze", "unsqueeze"])
# The same, and nothing else about it: pooling names the strides of a 1 × 1 map anew, for one.
RESTRIDES = "as_strided"
NOWHERE = Location([], None)


class Recorder:
    """Holds no tensor: drafts refer to each other by id."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.paths = Paths(model)
        self.drafts: dict[str, Draft] = {}
        self.ran: set[str] = set()
        self.parameters_read: set[int] = set()
        self.outside = (
            False  # no forward pass of the model runs (any more): values have no place in it
        )
        self._values = Values()
        for path, parameter in contents.named_parameters(model):
            if not is_lazy(parameter):
                self._values.mark_weight(parameter, path)

    def input(self, tensor: torch.Tensor) -> None:
        if not isinstance(tensor, nn.Parameter) and self._values.get(tensor) is None:
            self._values.set(tensor, self._draft(Input(), [], shape_of(tensor), NOWHERE).id)

    def output(self, tensor: torch.Tensor) -> bool:
        """False when nothing is known of where the tensor comes from."""
        made = self._read(tensor)
        self._draft(Output(), [made.id] if made else [], shape_of(tensor), NOWHERE)
        return made is not None

    def record(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """One operation that has just run."""
        sig = signature(func)
        named = bind(sig, args, kwargs)
        results = [t for t in flat(result) if not is_lazy(t)]
        if sig.name in FRESH:
            return
        if sig.name == RESTRIDES and "self" in sig.written:
            self._values.reshaped(named["self"])
            return
        if sig.name in FILLS and "self" in sig.written:
            self._fill(sig.name, named)
            return
        read = [t for name, a in named.items() if name[:3] != "out" for t in flat(a)]
        tensors = [t for t in read if not is_lazy(t)]
        self.parameters_read.update(id(t) for t in tensors if isinstance(t, nn.Parameter))
        if sig.name in RESHAPES and "self" in sig.written:
            self._values.reshaped(named["self"])
        values = {id(t): made for t in tensors if (made := self._read(t))}
        if not values:
            if any(self._values.is_weight(t) for t in tensors):
                for t in results:
                    self._values.mark_weight(t)
            return
        if not results and not sig.written:
            return  # a number was read: a branch may depend on it, no tensor does
        where = NOWHERE if self.outside else locate(self.model)
        operation = Operation(
            sig.name,
            named,
            results,
            values,
            self._values.is_weight,
            self._values.parameter,
            self._values.mask,
            where.instance_norm,
            where.running[0] if where.running else None,
        )
        typed = self._typed(func, operation) if results and not where.vmap else None
        if typed is None:
            typed = Typed(Opaque(sig.name), tuple(t for t in tensors if id(t) in values))
        self._store(typed, operation, sig.written, tensors, where)

    def _typed(self, func: Any, operation: Operation) -> Typed | None:
        reader = READERS.get(operation.name)
        if reader is None or getattr(func, "namespace", "") not in ("aten", "normscope"):
            return None
        typed = reader(operation)
        if typed is None:
            return None
        main = typed.reads[:1] if isinstance(typed.op, (Affine, Norm)) else typed.reads
        return typed if any(operation.value(t) for t in main) else None

    def _store(
        self,
        typed: Typed,
        operation: Operation,
        written: frozenset[str],
        tensors: list[torch.Tensor],
        where: Location,
    ) -> None:
        inputs = [made.id for t in typed.reads if (made := operation.value(t))]
        several = isinstance(typed.op, (Opaque, View))
        names = written if several else written & {"self", "out"}
        changed = [t for name in names for t in flat(operation.args.get(name))]
        fresh = operation.results if several else operation.results[:1] if not changed else []
        seen: set[int] = set()
        for i, target in enumerate([*changed, *fresh]):
            if id(target) in seen:
                continue
            seen.add(id(target))
            in_place = i < len(changed) and not isinstance(typed.op, View)
            if not in_place and any(
                self._values.same(target, t) for t in tensors if t is not target
            ):
                continue  # the very same values: no node
            made = self._draft(typed.op, inputs, shape_of(target), where, typed.facts)
            if len(seen) > 1:
                made.facts = {**made.facts, "secondary": True}
            (self._values.write if in_place else self._values.set)(target, made.id)

    def _fill(self, name: str, named: dict[str, Any]) -> None:
        target = named["self"]
        if self._read(target):
            where = NOWHERE if self.outside else locate(self.model)
            self._values.write(target, self._draft(Opaque(name), [], shape_of(target), where).id)
        elif name == "bernoulli" and isinstance(named.get("p"), float):
            self._values.mark_mask(target, named["p"])

    def _read(self, tensor: torch.Tensor) -> Draft | None:
        """What made the tensor's present values; a node that stands for writes through other tensors is added."""
        found = self._values.get(tensor)
        if isinstance(found, Stale):
            nodes = [w.node for w in found.writes]
            if found.covered and len(nodes) == 1:
                region = found.writes[0].region
                straight = tensor.is_contiguous() and _contiguous(region.shape, region.stride)
                sources = shapes.regrouped(region.shape, shape_of(tensor)) if straight else ()
                op: Op = View(sources)
            else:
                nodes = ([found.before] if found.before and not found.covered else []) + nodes
                op = Opaque("partial_write")
            where = NOWHERE if self.outside else locate(self.model)
            made = self._draft(op, list(dict.fromkeys(nodes)), shape_of(tensor), where)
            self._values.set(tensor, made.id)
            return made
        return self.drafts[found] if found else None

    def _draft(
        self,
        op: Op,
        inputs: list[str],
        shape: tuple[int, ...],
        where: Location,
        facts: dict[str, Any] | None = None,
    ) -> Draft:
        path = self.paths.of(where.running)
        if where.running:
            self.ran.add(path)
        word = op.name if isinstance(op, (Opaque, Activation)) else type(op).__name__.lower()
        made = Draft(
            f"{word}_{len(self.drafts)}", op, list(inputs), path, where.site, shape, facts or {}
        )
        self.drafts[made.id] = made
        return made


def _contiguous(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    expected = 1
    for n, s in zip(reversed(shape), reversed(stride), strict=True):
        if n != 1 and s != expected:
            return False
        expected *= n
    return True

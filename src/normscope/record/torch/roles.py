# pyright: basic
"""What a forward was given: another model's output, or the same data once more."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from normscope.graph.torch.tensors import tensors_of
from normscope.record.timeline import Forward
from normscope.record.torch import unfollowed
from normscope.record.torch.roots import Root

PLAIN = (torch.Tensor, nn.Parameter)
EARLY = 50  # steps within which autograd graphs are searched: what feeds what is decided by then
COMPARED = 32  # comparisons of contents after which the habit of a loop is known
MADE_BY = "normscope.model"  # where an autograd node says whose output it made
SAMPLE = 4096  # values that stand for a tensor's content


def note_input(forward: Forward, values: tuple[Any, ...]) -> None:
    """Whether the model gets the data of its forward before: the same tensor, or equal values within one step.

    Inference forwards compare with inference forwards: a fixed test set stays itself between training batches.
    """
    root = forward.root
    if not root.searched and torch.is_grad_enabled():  # before the model may change them in place
        root.fed_by = [t.grad_fn for t in tensors_of(values) if t.grad_fn is not None]
    x = next((v for v in values if isinstance(v, torch.Tensor)), None)
    if x is None:
        return
    training = torch.is_grad_enabled()
    given = root.given[training]
    before, earlier = given.step, given.content
    forward.same_input = given.ref() is x
    given.ref, given.content, given.step = weakref.ref(x), None, forward.step
    if not training:
        return
    again = before == forward.step and not forward.same_input
    if len(root.same_data) >= COMPARED:
        forward.same_input = forward.same_input or (again and all(root.same_data))
        return
    # Contents are only looked at in loops that run several forwards a step: elsewhere nothing can repeat.
    root.several = root.several or again
    given.content = content = _content(x) if root.several and _is_dense(x) else None
    if content is not None and again and earlier is not None:
        equal = earlier.shape == content.shape and bool(torch.equal(earlier, content))
        equal = equal and not bool((content == content[0]).all())  # constants tell nothing
        root.same_data.append(equal)
        forward.same_input = equal


def _is_dense(x: torch.Tensor) -> bool:
    return x.layout is torch.strided and not x.is_nested and not x.is_meta


def _content(x: torch.Tensor) -> torch.Tensor:
    """Values spread over the tensor: enough to tell two batches apart. An odd stride, so that it does not keep meeting
    the same border pixels of images."""
    flat = x.detach().reshape(-1)
    return flat[:: len(flat) // SAMPLE | 1][:SAMPLE].clone()


def note_outputs(forward: Forward, tensors: list[torch.Tensor], *, alone: bool) -> None:
    """Remember the outputs, weakly. Their storages too, unless there is no other model that could read them."""
    forward.root.last_outputs = [weakref.ref(t) for t in tensors]
    forward.root.output_shape = tensors[0].shape if tensors else None
    root = forward.root
    if not root.searched and any(t.grad_fn is not None for t in tensors):
        root.searched = True
        root.record.unfollowed = unfollowed.count(forward, tensors)
    root.fed_by = []
    if forward.step <= EARLY:
        for tensor in tensors:
            if tensor.grad_fn is not None:
                # The tensor may be gone when another model reads what was made of it: its node stays.
                notes: Any = tensor.grad_fn.metadata  # PyTorch's stub takes it for a method
                notes[MADE_BY] = forward.root.record.id
    if not alone:
        forward.root.recent = [(StorageWeakRef(t.untyped_storage()), forward) for t in tensors]


def note_producers(forward: Forward, values: Iterable[Any], roots: list[Root]) -> None:
    """Whose output does this model read? Same storage, or an autograd graph that leads back to it."""
    inputs = [v for v in values if type(v) in PLAIN][:3]
    for other in roots:
        if other is not forward.root and other.recent:
            storages = {ref.cdata for ref, _ in other.recent}
            if any(
                t.untyped_storage()._cdata in storages or _reaches(t, other, forward.step)
                for t in inputs
            ):
                forward.producers.append(other.recent[0][1])


def _reaches(tensor: torch.Tensor, other: Root, step: int) -> bool:
    """Whether a few autograd nodes back from `tensor` lies an output of `other`."""
    if tensor.grad_fn is None or step > EARLY:
        return False
    level: list[Any] = [tensor.grad_fn]
    for _ in range(4):
        if any(node.metadata.get(MADE_BY) == other.record.id for node in level):
            return True
        level = [n for node in level for n, _ in node.next_functions if n is not None][:16]
    return False

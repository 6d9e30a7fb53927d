# pyright: basic
"""Take batch norm out of a network: folded into the weights, and a learned scale at the end of each residual branch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.concepts.paths import flood
from normscope.errors import NormscopeError
from normscope.graph.model import Add, Affine, Graph, Node, Norm
from normscope.nn.frozen_batch_norm import FrozenBatchNorm
from normscope.nn.skip_init import SkipInit
from normscope.probes.replay import batch_norms, to_device
from normscope.record.torch.norms import is_fresh
from normscope.repairs.batchnorm_folding import COMPUTED, fold
from normscope.repairs.certificate import Certificate, LeftAlone
from normscope.repairs.conversion.besides import besides
from normscope.repairs.conversion.reached import uncalled
from normscope.repairs.conversion.replacing import replace_everywhere
from normscope.repairs.conversion.targets import TARGETS, Wish, take_over
from normscope.repairs.neighbours import Pair, captured, pairs
from normscope.repairs.repaired import copied, counted, differences, keeps_evaluation

ADVICE = (
    "learning rate: without batch norm the usable range ends earlier, so tune it again from a third of the present one; at small batches the "
    "best rates coincide (De & Smith 2020, arXiv 2002.10444)",
    "weight decay: before a batch norm it set the effective learning rate, now it penalizes the function itself; tune it again from "
    "a tenth (van Laarhoven 2017, arXiv 1706.05350)",
    "the noise of batch statistics regularized: expect to need dropout or augmentation in its place",
)


def remove_batchnorm(
    model: nn.Module, *inputs: Any, **kwargs: Any
) -> tuple[nn.Module, Certificate]:
    """A copy without batch statistics, to be trained on or anew.

    A norm that alone reads a linear map is folded into it; one behind something else becomes a fixed map with learned γ and β. Where
    the statistics are still 0 and 1 (a model not yet trained), they are first taken from `inputs`, layer after layer, so that the
    weights start with outputs of unit variance as batch norm would give them; each residual branch then ends in a learned scale that
    begins at 0 (SkipInit, De & Smith 2020). A trained model keeps its function in evaluation mode, and the scales begin at 1.

    Raises NormscopeError when the model cannot be copied or called, or has no batch norm.
    """
    repaired = copied(model)
    norms = batch_norms(repaired)
    if not norms:
        raise NormscopeError(f"`{type(model).__name__}` has no batch norm with running statistics.")
    fresh = all(is_fresh(n.running_mean, n.running_var) for n in norms)  # pyright: ignore[reportArgumentType]
    if fresh:
        _settle(repaired, norms, inputs, kwargs)
    graph = captured(repaired, inputs, kwargs, training=False)
    ends, unreached = _branch_ends(graph), uncalled(repaired, graph, inputs, kwargs)
    found = list(pairs(repaired, graph))
    names = {m: p for p, m in repaired.named_modules()}
    new: dict[nn.Module, nn.Module] = {}
    left: list[LeftAlone] = []
    folded = 0
    pairs_of = {p.norm: p for p in found if isinstance(p, Pair) and p.repeat == 1}
    for norm in norms:
        try:
            if norm in unreached:
                raise NormscopeError(unreached[norm])
            if norm.weight is not None and "weight" not in norm._parameters:
                raise NormscopeError(COMPUTED)
            more = besides(norm)
            made: list[nn.Module] = []
            if norm in pairs_of:
                fold(pairs_of[norm])
                folded += 1
            else:
                made.append(take_over(TARGETS["frozen"].build(norm, None, Wish()), norm))
        except NormscopeError as reason:
            left.append(LeftAlone(path=names[norm], reason=str(reason)))
            continue
        made += [module for _, module in more]
        new[norm] = _in_a_row(made)
    if not new:
        why = "; ".join(f"{x.path}: {x.reason}" for x in left)
        raise NormscopeError(f"No batch norm of `{type(model).__name__}` can be taken out: {why}.")
    scales = 0
    for norm, other in list(new.items()):
        if names[norm] in ends:
            scale = SkipInit(0.0 if fresh else 1.0).to(_like(norm))
            new[norm] = scale if isinstance(other, nn.Identity) else nn.Sequential(other, scale)
            scales += 1
    replace_everywhere(repaired, new)
    fixed = sum(isinstance(m, FrozenBatchNorm) for m in repaired.modules())
    begin = "0" if fresh else "1"
    apart = differences(model, repaired, inputs, kwargs)
    if not fresh:
        keeps_evaluation(model, apart)
    certificate = Certificate(
        repair="remove-batchnorm",
        kind="changes-function",
        model=type(model).__name__,
        done=(
            f"folded {folded} batch norms into the layers before them, fixed {fixed}, and ended {scales} residual branches "
            f"in a learned scale that begins at {begin}"
        ),
        left=tuple(left),
        differences=apart,
        parameters=counted(model, repaired),
        cost="less: no statistics are taken, and a folded norm is no operation any more",
        checkpoints="load old ones into the model before the repair; the folded weights are other numbers",
        warnings=ADVICE,
    )
    return repaired, certificate


def _in_a_row(modules: list[nn.Module]) -> nn.Module:
    if not modules:
        return nn.Identity()
    return modules[0] if len(modules) == 1 else nn.Sequential(*modules)


def _settle(
    model: nn.Module, norms: list[_BatchNorm], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Running statistics from one batch, each layer's from inputs that were normalized before it."""
    if not args and not kwargs:
        raise NormscopeError(
            "The model is not trained yet, so its scale comes from data: `remove_batchnorm(model, x)` with a typical batch."
        )
    modes = [(m, m.training) for m in model.modules()]
    momenta = [(n, n.momentum) for n in norms]
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    try:
        for module, _ in modes:
            module.training = isinstance(module, _BatchNorm)
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            model(
                *(to_device(a, device) for a in args),
                **{k: to_device(v, device) for k, v in kwargs.items()},
            )
    finally:
        for module, mode in modes:
            module.training = mode
        for norm, momentum in momenta:
            norm.momentum = momentum


def _branch_ends(graph: Graph) -> set[str]:
    """Paths of the norms that end a residual branch: read by a sum alone, and deeper than the sum's other term."""
    found: set[str] = set()
    for node in graph:
        if isinstance(node.op, Add) and len(terms := graph.inputs(node)) == 2:
            one, two = (_depth(graph, t, other) for t, other in (terms, terms[::-1]))
            if one == two:
                continue
            branch = terms[0] if one > two else terms[1]
            if isinstance(branch.op, Norm) and graph.readers(branch) == [node]:
                found.add(branch.path)
    return found


def _depth(graph: Graph, term: Node, other: Node) -> int:
    """Linear maps that lead to one term of a sum and not to the other."""
    shared = flood([other], lambda n: graph.inputs(n))
    own = flood([term], lambda n: graph.inputs(n))
    return sum(isinstance(graph[i].op, Affine) for i in own - shared)


def _like(norm: nn.Module) -> torch.Tensor:
    return next(_tensors(norm))


def _tensors(norm: nn.Module) -> Iterator[torch.Tensor]:
    yield from norm.parameters()
    yield from (b for b in norm.buffers() if b.is_floating_point())

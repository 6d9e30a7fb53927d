# pyright: basic
"""Exchange the batch norms of a model for another normalization."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.errors import NormscopeError, did_you_mean
from normscope.graph.model import Graph, Norm
from normscope.record.torch.norms import norms_in
from normscope.repairs.certificate import Certificate, LeftAlone
from normscope.repairs.conversion.besides import besides
from normscope.repairs.conversion.calibrating import calibrate, output_moments
from normscope.repairs.conversion.checkpoints import Renamed, migration, names_of
from normscope.repairs.conversion.reached import uncalled
from normscope.repairs.conversion.replacing import replace_everywhere
from normscope.repairs.conversion.targets import TARGETS, Target, Wish, take_over
from normscope.repairs.neighbours import captured
from normscope.repairs.repaired import Migration, copied, counted, differences, keeps_evaluation


def convert(
    model: nn.Module,
    to: str,
    *inputs: Any,
    layers: Sequence[str] = (),
    groups: int | None = None,
    ghost_size: int = 32,
    domains: int = 2,
    trainable_affine: bool = True,
    calibrated: bool = False,
    share_parameters: bool = False,
    **kwargs: Any,
) -> tuple[nn.Module, Certificate, Migration]:
    """A copy of the model with its batch norms exchanged for `to`: sync, group, layer, instance, renorm, ghost, frozen or domain.

    γ, β, eps, momentum, running statistics (where the new layer has any), mode and learning flags are carried over; what a
    subclass does besides (an activation) stays. A layer whose groups would be too small to normalize, or whose class is not
    understood, is left alone and told.

    Args:
        inputs: what the model is called with. With it the positions of each layer are known, a forward pass verifies that no old
            layer is called, and the certificate measures what changed.
        layers: paths or prefixes of paths; default: all batch norms.
        groups: of a group norm, at most; fewer where they do not divide the channels or would hold under 8 values. By default 32,
            or as many as leave 8 channels in each.
        ghost_size: samples whose statistics a ghost batch norm takes together.
        domains: of a domain batch norm.
        trainable_affine: whether γ and β of frozen norms learn on.
        calibrated: set γ and β so that on `inputs` each channel keeps the mean and deviation that it had in evaluation.
        share_parameters: let the copy hold the very parameters of the model, so that an optimizer of it stays valid; the model
            itself is not to be used any more.

    Raises NormscopeError for an unknown target or layer, when no layer can be exchanged, and when the model cannot be copied or called.
    """
    if to not in TARGETS:
        raise NormscopeError(
            f"There is no `{to}` to convert to.{did_you_mean(to, TARGETS)} Known: {', '.join(TARGETS)}, and `without` for none."
        )
    if calibrated and not inputs and not kwargs:
        raise NormscopeError(
            "Calibration needs data: `convert(model, 'group', x, calibrated=True)`."
        )
    target, wish = TARGETS[to], Wish(groups, ghost_size, domains, trainable_affine)
    repaired = copied(model, shared=share_parameters)
    graph = captured(repaired, inputs, kwargs, training=False) if inputs or kwargs else None
    unreached = uncalled(repaired, graph, inputs, kwargs) if graph is not None else {}
    plan = _Plan.of(repaired, target, wish, layers, graph, unreached)
    if not plan.new:
        why = "; ".join(sorted({f"{x.path}: {x.reason}" for x in plan.left})) or "it has none"
        raise NormscopeError(f"No batch norm of `{type(model).__name__}` can become `{to}`: {why}.")
    wanted = output_moments(repaired, plan.old, (inputs, kwargs)) if calibrated else {}
    names = names_of(repaired)
    replace_everywhere(repaired, {plan.old[p]: m for p, m in plan.new.items()})
    if graph is not None:
        _verify(repaired, plan, inputs, kwargs)
    if target.tracks:
        keeps_evaluation(model, differences(model, repaired, inputs, kwargs))
    fitted = calibrate(repaired, plan.inner, wanted, (inputs, kwargs)) if calibrated else []
    certificate = Certificate(
        repair=f"convert-{to}",
        kind="changes-function",
        model=type(model).__name__,
        done=f"exchanged {len(plan.new)} batch norms for {to} normalization: {target.function}",
        left=tuple(plan.left),
        differences=differences(model, repaired, inputs, kwargs),
        parameters=f"{counted(model, repaired)}"
        + ("" if fitted else "; γ and β keep their values"),
        cost=target.cost,
        checkpoints=_checkpoints(target, renamed=plan.new != plan.inner),
        warnings=tuple(_notes(to, wish, graph, plan, fitted)),
    )
    return repaired, certificate, migration(plan.renamed(target, names))


def _notes(
    to: str, wish: Wish, graph: Graph | None, plan: _Plan, fitted: Sequence[object]
) -> Iterator[str]:
    if fitted:
        yield f"γ and β of {len(fitted)} layers were set to keep the scale of the outputs"
    if to == "ghost" and graph is not None:
        calls = [n.shape for p in plan.new for n in graph.at(p) if isinstance(n.op, Norm)]
        most = max((shape[0] for shape in calls if shape), default=0)
        if most < 2 * wish.ghost_size:
            yield (
                f"the batch of {most} that was given is one ghost of {wish.ghost_size}, in which nothing changes: ghosts begin at "
                f"{2 * wish.ghost_size} samples, or at fewer with a smaller ghost size"
            )


@dataclass(slots=True)
class _Plan:
    """Old and new layers by path, `inner` the new norms themselves, and what stays with the reason."""

    old: dict[str, _BatchNorm] = field(default_factory=dict[str, _BatchNorm])
    new: dict[str, nn.Module] = field(default_factory=dict[str, nn.Module])
    inner: dict[str, nn.Module] = field(default_factory=dict[str, nn.Module])
    left: list[LeftAlone] = field(default_factory=list[LeftAlone])

    @classmethod
    def of(
        cls,
        model: nn.Module,
        target: Target,
        wish: Wish,
        layers: Sequence[str],
        graph: Graph | None,
        unreached: Mapping[nn.Module, str],
    ) -> _Plan:
        plan = cls()
        known = {p: m for p, m, _ in norms_in(model) if isinstance(m, _BatchNorm)}
        for name in layers:
            if not any(_under(p, name) for p in known):
                raise NormscopeError(f"No batch norm is named `{name}`.{did_you_mean(name, known)}")
        for path, norm in known.items():
            if layers and not any(_under(path, name) for name in layers):
                continue
            try:
                _refuse(norm)
                if norm in unreached:
                    raise NormscopeError(unreached[norm])
                more = besides(norm)
                made = take_over(target.build(norm, _positions(graph, path), wish), norm)
            except NormscopeError as reason:
                plan.left.append(LeftAlone(path=path, reason=str(reason)))
                continue
            if target.name == "frozen" and not wish.trainable_affine:
                for parameter in norm.parameters(recurse=False):
                    parameter.requires_grad_(False)
            plan.old[path], plan.inner[path] = norm, made
            plan.new[path] = _followed(made, more, norm) if more else made
        return plan

    def renamed(self, target: Target, names: Mapping[nn.Module, Sequence[str]]) -> list[Renamed]:
        """For each name that a state dict has for a layer."""
        return [
            Renamed(
                name,
                f"{name}.norm" if self.new[path] is not self.inner[path] else name,
                target.tracks and target.name != "domain",
                {
                    k: v.detach().cpu().clone()
                    for k, v in self.old[path]._buffers.items()
                    if v is not None
                },
                by_domain=target.name == "domain",
            )
            for path in self.new
            for name in names.get(self.old[path], ())
        ]


def _followed(made: nn.Module, more: Sequence[tuple[str, nn.Module]], norm: nn.Module) -> nn.Module:
    whole = nn.Sequential(OrderedDict([("norm", made), *more]))
    whole.training = norm.training  # its parts have their own
    return whole


def _refuse(norm: _BatchNorm) -> None:
    if any(
        isinstance(t, (nn.UninitializedParameter, nn.UninitializedBuffer))
        for t in (*norm.parameters(), *norm.buffers())
    ):
        raise NormscopeError("it is lazy and never ran")
    if norm.weight is not None and getattr(norm, "parametrizations", None):
        raise NormscopeError("its scale is computed from others (a parametrization)")


def _positions(graph: Graph | None, path: str) -> int | None:
    """Positions of one sample and channel in the smallest call of the layer; None where it is not known."""
    if graph is None:
        return None
    seen: list[int] = []
    for node in graph.at(path):
        if isinstance(node.op, Norm) and len(node.shape) >= 2:
            count = 1
            for size in node.shape[2:]:
                count *= size
            seen.append(count)
    return min(seen, default=None)


def _verify(model: nn.Module, plan: _Plan, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """One forward pass in which no old layer may be called. Raises NormscopeError when one is."""
    called: list[str] = []

    def watch(path: str) -> Any:
        return plan.old[path].register_forward_pre_hook(lambda _, __: called.append(path))

    handles = [watch(path) for path in plan.old]
    try:
        captured(model, args, kwargs, training=False)
    finally:
        for handle in handles:
            handle.remove()
    if called:
        raise NormscopeError(
            f"`{called[0]}` is still called after the exchange: the model holds it where it is not found (a closure, a "
            "global). Keep norm layers as attributes or in nn.ModuleList."
        )


def _under(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}.")


def _checkpoints(target: Target, *, renamed: bool) -> str:
    if renamed:
        return "names change where an activation follows: old ones load after `migration.forward`, new ones into the old model after `migration.backward`"
    if target.name == "domain":
        return (
            "old ones load as they are, and every domain starts from their statistics; new ones load into the old model after "
            "`migration.backward`, which takes the first domain"
        )
    if target.tracks:
        return "load both ways as they are, names and shapes are the same"
    return "old ones load after `migration.forward` (without running statistics), new ones into the old model after `migration.backward`"

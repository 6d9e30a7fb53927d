# pyright: basic
"""Whether deep layers suffer more: the layers in the order of their calls, and how their bias goes with that place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from normscope.graph.torch import contents
from normscope.probes.answers.batch_size import Interval
from normscope.probes.gram import Gram, all_sets, bias_squared, interval, resampled
from normscope.probes.replay import respond
from normscope.probes.setup import Given

FEWEST = 4  # layers: below that an order says nothing
NEGLIGIBLE = 1e-5  # of the whole gradient's length: the bias of a layer whose gradient is rounding is rounding too


def called(
    model: nn.Module, batch: Given, parameters: Sequence[nn.Parameter]
) -> dict[str, list[int]]:
    """The paths of modules with parameters of their own, by first call, each with the numbers of its parameters.

    A parameter that several modules share counts for the first. Modules that were not called by themselves come last.
    """
    owners = {
        m: (path, list(contents.parameters(m, recurse=False)))
        for path, m in contents.named_modules(model)
        if any(True for _ in contents.parameters(m, recurse=False))
    }
    order: list[nn.Module] = []
    handles = [m.register_forward_pre_hook(lambda m, _: order.append(m)) for m in owners]
    try:
        respond(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    numbers = {p: i for i, p in enumerate(parameters)}
    found: dict[str, list[int]] = {}
    for module in dict.fromkeys([*order, *owners]):
        path, own = owners[module]
        if mine := [numbers.pop(p) for p in own if p in numbers]:
            found[path or type(module).__name__] = mine
    return found


def places(layers: int) -> list[float]:
    """From 0 for the first layer to 1 for the last."""
    return [i / max(1, layers - 1) for i in range(layers)]


def trend(products: Gram, sets: int) -> tuple[Interval | None, Interval | None]:
    """Spearman's correlation of relative bias and depth, and the slope of bias over depth; None below four layers.

    The last of the products is the total. Layers with a negligible gradient are left out.
    """
    lengths = products.gg.mean((1, 2)).clamp_min(0).sqrt()
    known = [i for i in range(len(lengths) - 1) if lengths[i] > NEGLIGIBLE * lengths[-1]]
    if len(known) < FEWEST:
        return None, None
    x = torch.tensor(places(len(lengths) - 1), dtype=torch.float64)[known]
    one, many = (
        bias_squared(products, w)[:, known].clamp_min(0).sqrt()
        for w in (all_sets(sets), resampled(sets))
    )
    rank = interval(float(spearman(x, one)), spearman(x, many), sets, -1.0, 1.0)
    steep = interval(float(slope(x, one)), slope(x, many), sets, -torch.inf, torch.inf)
    return rank, steep


def spearman(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Of x (layers) with each row of y (draws, layers); 0 where all of a row are equal."""
    a, b = _ranks(x[None]), _ranks(y)
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    length = a.norm(dim=1) * b.norm(dim=1)
    return torch.where(length > 0, (a * b).sum(1) / length.clamp_min(1e-300), 0.0)


def slope(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Least squares of each row of y on x."""
    apart = x - x.mean()
    return (y * apart).sum(1) / apart.square().sum()


def _ranks(y: torch.Tensor) -> torch.Tensor:
    """1, 2, … along each row; equal values share the mean of their ranks."""
    below = (y[:, None, :] < y[:, :, None]).sum(2)
    same = (y[:, None, :] == y[:, :, None]).sum(2)
    return below + (same + 1).double() / 2

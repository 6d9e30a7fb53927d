from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from normscope.finding import Finding, Measured, Remedy, Severity
from normscope.probes.answers.port import Port, Side, Values
from normscope.rule import Faulty, Healthy, rule

SAME = 1e-4  # relative difference of values that were copied: half precision loses 5e-4 of a value at most, float32 far less
SHIFTED = 0.01  # change of a norm's output by another eps, as a share of it
LARGEST_BATCH = 4096  # values per channel of the batches whose variance was corrected, above which n / (n - 1) is 1


@rule("NS705", severity="error", since="0.1.0", default=False)
def port_mismatch(port: Port) -> Iterator[Finding]:
    r"""A model that was carried between Keras and PyTorch normalizes differently there.

    ## What it checks
    The norm layers of both models, one by one in the order in which the models hold them: number, kind and channels; momentum, in one
    sense; eps, by what it changes in the output, $\sqrt{(\sigma^2 + \epsilon_1) / (\sigma^2 + \epsilon_2)} - 1$ with the stored variances;
    and the stored values, where some of them agree: scale, shift, mean and variance each against its own, and against the others.

    ## Why it matters
    Keras' momentum is the weight of the old average and PyTorch's that of the new batch; epsilon is $10^{-3}$ in Keras and $10^{-5}$
    in PyTorch, which changes the output of a channel with variance $10^{-3}$ by 40 %; both store four vectors of one length,
    which nothing keeps from being exchanged. Keras averages biased variances, PyTorch those times $n / (n - 1)$: exported statistics are
    right in both, statistics that each recomputes differ by that factor.

    ## Example
    ```python
    keras.layers.BatchNormalization(momentum=0.9)
    nn.BatchNorm2d(64, momentum=0.9)  # wrong twice: 0.1 is meant, and eps must be 1e-3
    nn.BatchNorm2d(64, momentum=0.1, eps=1e-3)
    ```

    ## Repair
    `momentum=1 - keras_momentum` and `eps=1e-3` in PyTorch; `gamma`, `beta`, `moving_mean`, `moving_variance` become `weight`, `bias`,
    `running_mean`, `running_var`.

    ## Known limits
    Asked for by `normscope compare-ports file.py:setup`, where `setup()` returns `{"torch": torch_model, "keras": keras_model}`, or by
    `normscope.compare_ports(torch_model, keras_model)`. Layers are matched by order alone, so a model that holds
    its norms in another order than it was ported in is compared only where kinds and channels agree. Silent when momenta differ and both are
    in honest use (the defaults 0.1 and 0.01, an info), when eps changes nothing beyond 1 % of the output (an info), and on values when no
    vector of the two models agrees: then no weights were carried over. Another channel axis shows as another number of channels.

    ## References
    - https://keras.io/api/layers/normalization_layers/batch_normalization/
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html
    """
    if not port.pairs:
        yield _rows(port)
        return
    yield from _momenta(port)
    yield from _eps(port)
    yield from _values(port)


def _rows(port: Port) -> Finding:
    first = next(
        (
            i
            for i, (a, b) in enumerate(zip(port.torch, port.keras, strict=False))
            if (a.kind, a.channels) != (b.kind, b.channels)
        ),
        min(len(port.torch), len(port.keras)),
    )

    def told(sides: tuple[Side, ...]) -> str:
        if first >= len(sides):
            return "none"
        return f"`{sides[first].path}` ({sides[first].kind} norm, {sides[first].channels} channels)"

    return Finding(
        f"The models do not hold the same norms: {len(port.torch)} in PyTorch, {len(port.keras)} in Keras; number {first + 1} is "
        f"{told(port.torch)} there and {told(port.keras)} here. The rest was not compared.",
        severity="warning" if len(port.torch) == len(port.keras) else "info",
        confidence="medium",
        model=port.name,
        layers=tuple(s[first].path for s in (port.torch, port.keras) if first < len(s)),
        measured=(
            Measured(
                "norms in PyTorch − norms in Keras",
                len(port.torch) - len(port.keras),
                "layers",
                0,
                0,
            ),
        ),
    )


def _momenta(port: Port) -> Iterator[Finding]:
    apart = [
        (a, b, a.momentum, b.momentum)
        for a, b in port.pairs
        if a.momentum is not None
        and b.momentum is not None
        and not np.isclose(a.momentum, b.momentum)
    ]
    if not apart:
        return
    inverted = [x for x in apart if np.isclose(x[2], 1 - x[3])]
    a, _, alpha, meant = (inverted or apart)[0]
    yield Finding(
        f"`{a.path}` has momentum={alpha:g} in PyTorch, the weight of the new batch; in Keras it is {1 - meant:.6g}, the weight of the old "
        f"average, which is {meant:g} in PyTorch's sense ({len(apart)} of {len(port.pairs)} layers differ). Set momentum={meant:g} in PyTorch.",
        severity="error" if inverted else "info",
        confidence="high",
        model=port.name,
        layers=tuple(x[0].path for x in (inverted or apart)),
        measured=(
            Measured("momentum in PyTorch's sense", alpha, "weight of the new batch", meant, meant),
        ),
        repairs=(Remedy("set momentum", "changes-function", f"momentum={meant:g}"),),
    )


def _eps(port: Port) -> Iterator[Finding]:
    apart = [(a, b) for a, b in port.pairs if not np.isclose(a.eps, b.eps, rtol=1e-3, atol=0)]
    if not apart:
        return
    a, b = max(apart, key=lambda pair: effect(*pair))
    most = effect(a, b)
    yield Finding(
        f"`{a.path}` has eps={a.eps:g} in PyTorch and {b.eps:g} in Keras ({len(apart)} of {len(port.pairs)} layers differ): with the stored "
        f"variances that changes its output by up to {most:.2g} of itself. Set eps={b.eps:g} in PyTorch.",
        severity="warning" if most > SHIFTED else "info",
        confidence="high",
        model=port.name,
        layers=tuple(x.path for x, _ in apart),
        measured=(
            Measured("change of the output by eps", most, "share of the output", high=SHIFTED),
        ),
        repairs=(Remedy("set eps", "changes-function", f"eps={b.eps:g}"),),
    )


def effect(a: Side, b: Side) -> float:
    """How far two eps scale some channel differently, as a share; of variance 1 where none is stored."""
    var = b.var if b.var is not None and b.var.size else np.ones(1)
    least = max(float(np.nanmin(var)), 0.0)
    return abs(sqrt((least + b.eps) / (least + a.eps)) - 1) if least + a.eps > 0 else float("inf")


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of one layer's vectors: which agree, which lie at another's place, and which differ."""

    torch: Side
    keras: Side
    agree: tuple[str, ...]
    exchanged: tuple[tuple[str, str], ...]
    differ: tuple[str, ...]


def _values(port: Port) -> Iterator[Finding]:
    copied = [compared(a, b) for a, b in port.pairs]
    if exchanged := [c for c in copied if c.exchanged]:
        first = exchanged[0]
        there, here = first.exchanged[0]
        yield _told(
            port,
            f"`{first.torch.path}` holds Keras' `{here}` where `{there}` belongs (layers with exchanged vectors: {len(exchanged)}). Load "
            "gamma, beta, moving_mean and moving_variance in this order into weight, bias, running_mean and running_var.",
            exchanged,
            "error",
        )
        return
    if not any(telling(c) for c in copied):
        return
    if corrected := [
        c for c in copied if c.differ == ("moving_variance",) and (sizes(c) is not None)
    ]:
        n = sizes(corrected[0]) or 0
        yield _told(
            port,
            f"The running variances of `{corrected[0].torch.path}` are Keras' times n / (n − 1) with n = {n} ({len(corrected)} layers): PyTorch "
            "corrects each batch's variance, Keras does not. Nothing is wrong: both are right on their side.",
            corrected,
            "info",
        )
    if lost := [c for c in copied if c.differ and c not in corrected]:
        first = lost[0]
        yield _told(
            port,
            f"`{', '.join(first.differ)}` of `{first.torch.path}` differs between the models, while other vectors agree (layers with a "
            f"difference: {len(lost)} of {len(copied)}): not everything was carried over. Copy all four vectors.",
            lost,
            "error",
        )


def _told(port: Port, message: str, of: list[Copied], severity: Severity) -> Finding:
    return Finding(
        message,
        severity=severity,
        confidence="high",
        model=port.name,
        layers=tuple(c.torch.path for c in of),
        measured=(Measured("layers with differing vectors", len(of), "layers", high=0),),
        repairs=()
        if severity == "info"
        else (
            Remedy(
                "copy the vectors",
                "changes-function",
                "for name, value in zip(('weight', 'bias', 'running_mean', 'running_var'), keras_norm.get_weights()): "
                "getattr(norm, name).data.copy_(torch.from_numpy(value))",
            ),
        ),
    )


def compared(a: Side, b: Side) -> Copied:
    there, here = a.arrays, b.arrays
    both = [n for n in there if n in here]
    agree = tuple(n for n in both if same(there[n], here[n]))
    differ = [n for n in both if n not in agree]
    exchanged = tuple(
        (n, m)
        for n in differ
        for m in differ
        if n != m and plain(here[m]) and same(there[n], here[m])
    )
    return Copied(a, b, agree, exchanged, tuple(differ))


def telling(copied: Copied) -> bool:
    """Whether a vector agrees that is not as every new layer has it."""
    return any(plain(copied.keras.arrays[n]) for n in copied.agree)


def plain(values: Values) -> bool:
    """Whether it tells layers apart: it is not one value throughout."""
    return values.size > 1 and bool(np.ptp(values) > 0)


def same(a: Values, b: Values) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=SAME, atol=1e-7))


def sizes(copied: Copied) -> int | None:
    """The number of values n whose correction n / (n − 1) explains the difference of the variances in all channels."""
    there, here = copied.torch.var, copied.keras.var
    if there is None or here is None or not (here > 0).all():
        return None
    ratio = there / here
    r = float(np.median(ratio))
    if r <= 1 or not np.allclose(ratio, r, rtol=1e-3, atol=0):
        return None
    n = round(r / (r - 1))
    return n if 2 <= n <= LARGEST_BATCH else None


def _side(
    path: str,
    momentum: float = 0.1,
    eps: float = 1e-3,
    seed: int = 0,
    order: str = "gbmv",
    **words: Any,
) -> Side:
    random = np.random.default_rng(seed)
    drawn = dict(zip("gbmv", (1 + random.normal(size=(4, 8)) * 0.2), strict=True))
    drawn["v"] = np.abs(drawn["v"]) * 2
    arrays = (
        dict(zip(("scale", "shift", "mean", "var"), (drawn[c] for c in order), strict=True)) | words
    )
    return Side(path, "batch", 8, eps, momentum, **arrays)


def _port(a: Side, b: Side) -> dict[str, object]:
    return {"port": Port(0, "Net", (a,), (b,))}


_KERAS = _side("bn")
_ONES: dict[str, Any] = {
    "scale": np.ones(8),
    "shift": np.zeros(8),
    "mean": np.zeros(8),
    "var": np.ones(8),
}

CASES = (
    Faulty("momentum copied", ("a",), measured=_port(_side("a", 0.9), _KERAS), severity="error"),
    Faulty(
        "momentum of two defaults",
        ("a",),
        measured=_port(_side("a", 0.1), _side("bn", 0.01)),
        severity="info",
    ),
    Faulty(
        "eps of PyTorch beside a small variance",
        ("a",),
        measured=_port(
            _side("a", eps=1e-5, var=np.full(8, 1e-3)), _side("bn", eps=1e-3, var=np.full(8, 1e-3))
        ),
        severity="warning",
    ),
    Faulty(
        "eps beside large variances",
        ("a",),
        measured=_port(_side("a", eps=1e-5, var=np.full(8, 2.0)), _side("bn", var=np.full(8, 2.0))),
        severity="info",
    ),
    Faulty(
        "scale and shift exchanged",
        ("a",),
        measured=_port(_side("a", order="bgmv"), _KERAS),
        severity="error",
    ),
    Faulty(
        "mean and variance exchanged",
        ("a",),
        measured=_port(_side("a", order="gbvm"), _KERAS),
        severity="error",
    ),
    Faulty(
        "statistics left behind",
        ("a",),
        measured=_port(_side("a", mean=np.zeros(8), var=np.ones(8)), _KERAS),
        severity="error",
    ),
    Faulty(
        "corrected variances",
        ("a",),
        measured=_port(
            _side("a", var=(_KERAS.var if _KERAS.var is not None else np.ones(8)) * 16 / 15), _KERAS
        ),
        severity="info",
    ),
    Faulty(
        "another number of channels",
        ("a", "bn"),
        measured=_port(Side("a", "batch", 16, 1e-3, 0.1), _KERAS),
        severity="warning",
    ),
    Healthy("the same", measured=_port(_side("a"), _KERAS)),
    Healthy("the same but for rounding", measured=_port(_side("a", eps=1e-3 * 1.0000001), _KERAS)),
    Healthy(
        "momentum 0.5, which is its own inverse", measured=_port(_side("a", 0.5), _side("bn", 0.5))
    ),
    Healthy("eps of PyTorch in both", measured=_port(_side("a", eps=1e-5), _side("bn", eps=1e-5))),
    Healthy("both as built", measured=_port(_side("a", **_ONES), _side("bn", **_ONES))),
    Healthy("neither was loaded from the other", measured=_port(_side("a", seed=1), _KERAS)),
    Healthy("one trained, one as built", measured=_port(_side("a", **_ONES), _KERAS)),
    Healthy(
        "without scale and shift",
        measured=_port(
            Side("a", "batch", 8, 1e-3, 0.1, mean=_KERAS.mean, var=_KERAS.var),
            Side("bn", "batch", 8, 1e-3, 0.1, mean=_KERAS.mean, var=_KERAS.var),
        ),
    ),
    Healthy(
        "layer norms, which have no momentum",
        measured=_port(Side("a", "layer", 8, 1e-5, None), Side("ln", "layer", 8, 1e-5, None)),
    ),
    Healthy(
        "renamed layers of another width each",
        measured={
            "port": Port(
                0,
                "Net",
                (Side("x", "batch", 4, 1e-3, 0.1), _side("y")),
                (Side("p", "batch", 4, 1e-3, 0.1), _KERAS),
            )
        },
    ),
    Healthy(
        "defaults of both frameworks",
        measured=_port(_side("a", 0.1), _side("bn", 0.01)),
        at_most="info",
    ),
)

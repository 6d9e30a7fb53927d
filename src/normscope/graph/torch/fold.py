"""One node for what the user wrote as one operation, where ATen runs several."""
# pyright: basic

from __future__ import annotations

import math

import msgspec

from normscope.graph.model import Affine, Cast, Multiply, Norm, Opaque, Shift, View
from normscope.graph.torch.operation import Draft


def fold(drafts: dict[str, Draft]) -> list[Draft]:
    """The drafts, in order, with patterns folded and what nobody reads left out."""
    folding = _Folding(drafts)
    for draft in drafts.values():
        if draft.id not in folding.drafts:
            continue
        match draft.op:
            case Affine(kind="linear"):
                folding.reshaped_linear(draft)
            case Norm(kind="batch"):
                folding.instance_norm(draft)
            case Multiply(constant=False):
                folding.rms_norm(draft)
    for draft in drafts.values():
        if draft.id not in folding.drafts:
            continue
        match draft.op:
            case Affine(bias=0):
                folding.later_bias(draft)
            case Norm(kind="rms", affine=False):
                folding.later_scale(draft)
        for helper in draft.facts.get("helpers", ()):
            folding.discard(helper)
    # Modules that take the batch's statistics by themselves: what they do with these beside is no value of the model.
    by_hand = {d.path for d in drafts.values() if d.facts.get("helpers")} - {""}
    for draft in reversed(drafts.values()):
        aside = draft.path in by_hand and not isinstance(draft.op, Norm)
        if isinstance(draft.op, (Cast, View)) or draft.facts.get("secondary") or aside:
            folding.discard(draft.id, chain=False)
    return list(folding.drafts.values())


class _Folding:
    def __init__(self, drafts: dict[str, Draft]) -> None:
        self.drafts = dict(drafts)
        self.readers: dict[str, list[Draft]] = {i: [] for i in drafts}
        for draft in drafts.values():
            for i in dict.fromkeys(draft.inputs):
                self.readers[i].append(draft)

    def reshaped_linear(self, linear: Draft) -> None:
        """`view, addmm, view`: what `nn.Linear` does to inputs of three and more dimensions, or of one."""
        op, after = linear.op, self._only_reader(linear)
        if len(linear.inputs) != 1 or len(linear.shape) != 2 or after is None:
            return
        before = self.drafts[linear.inputs[0]]
        views = isinstance(before.op, View) and isinstance(after.op, View)
        if not (isinstance(op, Affine) and op.axis == 1 and views):
            return
        source = self.drafts[before.inputs[0]]
        kept = source.shape[-1:] == before.shape[-1:] and len(before.shape) == 2
        if kept and after.shape == (*source.shape[:-1], linear.shape[-1]):
            axis = len(after.shape) - 1
            linear.op = msgspec.structs.replace(op, axis=axis)
            self._bypass(before, linear)
            self._absorb(after, linear)

    def instance_norm(self, norm: Draft) -> None:
        """Instance norm runs as batch norm on one sample of N x C channels; views around it where N > 1."""
        op, after = norm.op, self._only_reader(norm)
        if not isinstance(op, Norm) or norm.shape[:1] != (1,) or len(norm.inputs) != 1:
            return
        before = self.drafts[norm.inputs[0]]
        if isinstance(before.op, View) and after and isinstance(after.op, View):
            source = self.drafts[before.inputs[0]]
            samples, channels, *space = source.shape if len(source.shape) > 2 else (0, 0)
            if source.shape == after.shape and norm.shape == (1, samples * channels, *space):
                norm.op = msgspec.structs.replace(op, kind="instance", channels=channels)
                self._bypass(before, norm)
                self._absorb(after, norm)
                return
        if norm.facts.get("instance"):
            norm.op = msgspec.structs.replace(op, kind="instance")

    def rms_norm(self, product: Draft) -> None:
        """`x * rsqrt(mean(x^2) + eps)`, the mean being over the last dimensions."""
        if len(product.inputs) != 2:
            return
        for x, scale in (product.inputs, product.inputs[::-1]):
            chain: list[Draft] = []
            at = self.drafts[scale]
            for test in (_is_rsqrt, _is_shift_by_number, _is_mean, _is_square):
                if not test(at):
                    break
                chain.append(at)
                at = self.drafts[at.inputs[0]]
            else:
                _, shift, mean, _ = chain
                dims: set[int] = mean.facts["dims"]
                n = len(at.shape)
                if at.id == x and dims == set(range(n - len(dims), n)):
                    over = math.prod(at.shape[d] for d in dims)
                    eps = float(f"{shift.facts['number']:.6g}")  # it went through float32
                    axis = n - len(dims)
                    product.op = Norm(
                        "rms",
                        channels=over,
                        eps=eps,
                        momentum=None,
                        axis=axis,
                        tracks=False,
                        affine=False,
                        values=over,
                    )
                    self.readers[scale] = [r for r in self.readers[scale] if r is not product]
                    product.inputs = [x]
                    self.discard(scale)
                    return

    def later_bias(self, affine: Draft) -> None:
        """A parameter added to the result of a map without bias, along its output dimension, is its bias."""
        op, after = affine.op, self._only_reader(affine)
        if not (isinstance(op, Affine) and after and isinstance(after.op, Shift)):
            return
        constant = after.facts.get("constant")
        if after.facts.get("weight") and _runs_along(constant, affine.shape, op.axis):
            affine.op = msgspec.structs.replace(op, bias=affine.shape[op.axis])
            self._absorb(after, affine)

    def later_scale(self, norm: Draft) -> None:
        """A parameter multiplied onto a bare RMS norm is its scale."""
        op, after = norm.op, self._only_reader(norm)
        if not (isinstance(op, Norm) and after and isinstance(after.op, Multiply)):
            return
        if after.facts.get("weight") and math.prod(after.facts["constant"]) == op.channels:
            zeros = after.facts["zero_scale"]
            norm.op = msgspec.structs.replace(op, affine=True, zero_gamma=zeros)
            self._absorb(after, norm)

    def discard(self, node: str, *, chain: bool = True) -> None:
        """Drop a node that nobody reads, and with `chain` then also what only it read."""
        draft = self.drafts.get(node)
        if draft is None or self.readers[node]:
            return
        del self.drafts[node]
        for i in dict.fromkeys(draft.inputs):
            self.readers[i] = [r for r in self.readers[i] if r is not draft]
            if chain and isinstance(self.drafts[i].op, (Opaque, Shift, Cast, View)):
                self.discard(i)

    def _only_reader(self, draft: Draft) -> Draft | None:
        readers = self.readers[draft.id]
        return readers[0] if len(readers) == 1 and draft.id in self.drafts else None

    def _bypass(self, view: Draft, reader: Draft) -> None:
        """Let `reader` read what `view` reads."""
        reader.inputs = list(view.inputs)
        self.readers[view.id] = [r for r in self.readers[view.id] if r is not reader]
        self.readers[view.inputs[0]].append(reader)
        self.discard(view.id, chain=False)

    def _absorb(self, after: Draft, into: Draft) -> None:
        """`into` takes the place of `after`, its only reader."""
        into.shape = after.shape
        for reader in self.readers[after.id]:
            reader.inputs = [into.id if i == after.id else i for i in reader.inputs]
        self.readers[into.id] = self.readers.pop(after.id)
        del self.drafts[after.id]


def _runs_along(constant: tuple[int, ...] | None, shape: tuple[int, ...], axis: int) -> bool:
    """A constant that differs along `axis` only, once broadcast to `shape`."""
    if not constant or len(constant) > len(shape):
        return False
    aligned = (1,) * (len(shape) - len(constant)) + constant
    return all(n == (shape[d] if d == axis else 1) for d, n in enumerate(aligned))


def _is_rsqrt(d: Draft) -> bool:
    power = d.facts.get("exponent")
    return isinstance(d.op, Opaque) and (d.op.name == "rsqrt" or power == -0.5)


def _is_shift_by_number(d: Draft) -> bool:
    return isinstance(d.op, Shift) and isinstance(d.facts.get("number"), (int, float))


def _is_mean(d: Draft) -> bool:
    return isinstance(d.op, Opaque) and d.op.name == "mean" and d.facts.get("keepdim", False)


def _is_square(d: Draft) -> bool:
    return (isinstance(d.op, Multiply) and len(d.inputs) == 2 and len(set(d.inputs)) == 1) or (
        isinstance(d.op, Opaque) and d.op.name == "pow" and d.facts.get("exponent") == 2
    )

# pyright: basic
"""A forward of a known loop: counted if it is one more of the same, else recorded."""

from __future__ import annotations

from collections.abc import Callable
from sys import _getframe
from typing import TYPE_CHECKING, Any
from weakref import ref as ref_to

from torch import Tensor, is_grad_enabled, nn

from normscope.record.torch.loop import Loop

if TYPE_CHECKING:
    from normscope.record.torch.observer import Observer


def counting(observer: Observer, loop: Loop) -> Callable[..., Any]:
    """What runs calls from outside any module while `loop` is the one that is known."""

    def call(
        original: Callable[..., Any],
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        # With cold caches between two kernels of each step: so it is one function, of few and simple questions.
        frame = _getframe(2)
        try:
            x = args[0] if args else None
            known = (
                not observer.open
                and not observer.full
                and module is loop.module()
                and frame.f_lasti == loop.instruction
                and frame.f_code is loop.code
                and module.training is loop.training
                and type(x) is Tensor
                and x.shape == loop.shape
                and is_grad_enabled()
            )
            if known:
                for reference, training, momentum, trainable, _ in loop.norms:
                    if (norm := reference()) is None:
                        known = False
                        break
                    facts = norm.__dict__
                    scale = facts["_parameters"].get("weight")
                    if (
                        facts["training"] is not training
                        or facts.get("momentum") != momentum
                        or (scale is None or scale.requires_grad) is not trainable
                    ):
                        known = False
                        break
            if known:
                # While a tensor lives there is one plain reference to it: comparing these compares tensors.
                given, reference = loop.given, ref_to(x)
                if known := (reference is given.ref) is loop.same:
                    given.ref, given.content, given.step = reference, None, observer.count
        except Exception as error:  # noqa: BLE001
            observer.fail(error)
            return original(module, *args, **kwargs)
        if not known:
            return observer.forwards.run(original, module, args, kwargs, frame)
        observer.open, observer.used = True, False
        if copied := observer.copy:
            observer.copies.take(args, kwargs)
        observer.inside = observer.quiet = True
        try:
            out = original(module, *args, **kwargs) if kwargs else original(module, *args)
        except BaseException:
            observer.open = observer.copying = False
            raise
        finally:
            observer.inside = observer.quiet = False
        if copied:
            observer.copies.ran(out)
        return out

    return call

# pyright: basic
"""A loop that repeats itself: once it is known, its steps are counted, and looked at again only as the purse affords.

Book-keeping in Python costs some fifty microseconds a step, which is too much of a step that takes a millisecond.
After a few steps that each were one training forward of one model, one backward and one optimizer step, all with the same
pattern, the next forward is taken for another one of these if everything that can be seen from outside agrees (see `counting`): the
module, the calling line, mode, momentum and trainability of every norm layer, gradients being on, the shape of the input. Whatever
differs is recorded in full, and a forward that no backward followed is put right as inference. Forwards of other models without
gradients may lie between: they are recorded by themselves, and tell nothing of the loop.
"""

from __future__ import annotations

from time import perf_counter
from types import FrameType
from typing import TYPE_CHECKING, Any
from weakref import ref as ref_to

from torch import Tensor, is_grad_enabled

from normscope.record.recording import Span
from normscope.record.schedule import spaced
from normscope.record.timeline import Forward
from normscope.record.torch.counting import counting
from normscope.record.torch.loop import Loop, traits

if TYPE_CHECKING:
    from normscope.record.torch.observer import Observer

LEARNED = 4  # equal steps in a row
COUNTED = 1e-5  # seconds that a counted step is charged with; measured: 6 to 9 µs
# Between two looks at the purse: so many seconds, or steps where these are very short. Later a share of all steps, an eighth of
# what lies between two readings by then (see `spaced`), or seconds, so that what is known is written in time.
PAUSE, MOST_STEPS = 5e-2, 64
LATER, LONGEST = 1 / 256, 0.5
SPACING = 4  # a step is recorded in full after a quarter of the steps before it, whatever it costs: sixteen of the first 300


class Routine:
    """What the loop does, while it does the same."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.active = False  # the loop is known: `call` is asked instead of `Outermost.run`
        self.cost = 2e-4  # seconds that recording one step in full takes, learned
        self.forwards = 0  # since the last step, as far as recorded in full
        self.backwards = 0
        self.latest: Forward | None = None
        self._charged = 0  # of the counted steps
        self._looked = (0, 0.0)  # step and time of the latest look
        self._full = 0  # the latest step that was recorded in full
        self._surely = 0  # from that step on one is recorded in full whatever it costs
        self._streak = 0
        self._span: Span | None = None
        self._seen: tuple[Any, ...] = (None, 0, None)  # caller, its instruction, shape of the input
        self.template: Forward | None = None  # what each of its forwards does
        self.loop = Loop()
        self.call = counting(observer, self.loop)

    # ---- learning -------------------------------------------------------------------------------

    def note(self, forward: Forward, args: tuple[Any, ...], frame: FrameType) -> None:
        """A forward that is recorded in full begins; `frame` is the one that called the module."""
        if not is_grad_enabled():
            return  # nothing is trained by it
        self.forwards += 1
        self.latest = forward
        # A nested tensor has no shape.
        plain = args and type(args[0]) is Tensor and not args[0].is_nested
        shape = args[0].shape if plain else None
        self._seen = frame.f_code, frame.f_lasti, shape

    def learn(self, optimizer: Any) -> None:
        """A step that was recorded in full is over."""
        forward, forwards, backwards = self.latest, self.forwards, self.backwards
        self.forwards = self.backwards = 0
        if forwards:
            self._full = self.observer.count
        if forward is None:
            return
        same = forward.span is not None and forward.span is self._span
        alike = (
            optimizer is not None
            and forwards == backwards == 1
            and same
            and self._seen[2] is not None
        )
        recomputes = any(c[6] for c in forward.calls)
        self._streak = self._streak + 1 if alike and not recomputes else 0
        self._span = forward.span
        module = forward.root.module
        if self._streak < LEARNED or module is None or self.observer.compiled:
            return
        # A loop that was known may go on in another way: with other momenta, or other sizes.
        loop = self.loop
        here = (loop.code, loop.instruction, loop.shape)
        known = self.template.span if self.active and self.template is not None else None
        if forward.span is not known or self._seen != here:
            self.active = True
            self.observer.call = self.call
            self.template = forward
            loop.module, loop.training = ref_to(module), forward.training
            loop.code, loop.instruction, loop.shape = self._seen
            loop.given, loop.same = forward.root.given[True], forward.same_input
            loop.norms = traits(forward.root)

    # ---- counting -------------------------------------------------------------------------------

    def record_next(self) -> None:
        """The next step is to be recorded in full: what went before it may matter."""
        self.observer.full = True

    def look(self) -> None:
        """After a step: whether the purse affords another step in full, and when to look again.

        A look takes twenty microseconds, so that short steps share one.
        """
        observer, now = self.observer, perf_counter()
        observer.copies.done(used=True)
        if not self.active or self.template is None:
            return
        self._charge()
        count = observer.count
        wanted = observer.per_call.due() or (
            spaced(count, self._full) and observer.schedule.affords_books(self.cost)
        )
        if wanted or (count >= self._surely and observer.schedule.budget > 0):
            wanted, self._surely = True, count + max(1, count // SPACING)
        observer.full = wanted
        copy_at = observer.copies.next(self.template, count)
        observer.copy = count >= copy_at
        before, then = self._looked
        self._looked = (count, now)
        steps = 1.0
        if count > before and not observer.polling.due(count, peek=True):
            step = max(now - then, 1e-9) / (count - before)  # in seconds
            steps = max(1.0, min(PAUSE / step, MOST_STEPS), min(LATER * count, LONGEST / step))
        look_at = min(count + int(steps), observer.after_step.facts_at)
        look_at = int(min(look_at, max(copy_at, count + 1)))  # `copy_at` may be infinite
        look_at = min(look_at, self._surely) if self._surely > count else look_at
        observer.look_at = look_at if observer.limit is None else min(look_at, observer.limit)

    def _charge(self) -> None:
        """Charge the counted steps that were not charged yet."""
        n, self._charged = self.observer.counted - self._charged, self.observer.counted
        if n > 0:
            self.observer.schedule.charge(n * COUNTED)

    def meet(self, root: Any) -> None:
        """A forward of `root` begins that is not counted."""
        if not self.active or (self.foreign(root) and not is_grad_enabled()):
            return  # one of another model without gradients tells nothing of the loop
        if self.observer.open or self.foreign(root):
            self.leave()
        self.settle()

    def foreign(self, root: Any) -> bool:
        """Whether `root` is another model than the loop's."""
        return self.template is None or root is not self.template.root

    def settle(self) -> None:
        """Write counted steps into the recording, as if each had been recorded in full."""
        self._charge()
        observer, template = self.observer, self.template
        n, observer.counted, self._charged = observer.counted, 0, 0
        self._streak = 0 if n else self._streak
        if not n or template is None:
            return
        root = template.root
        by_id = {x.record.id: x.record for x in root.layers}
        for call in template.calls:
            if call[2] and call[0] in by_id:
                by_id[call[0]].updates += n
        observer.activity += 2 * n
        template.step = observer.count - n
        observer.timeline.repeat(template, n, activity=observer.activity - 1)

    def leave(self) -> None:
        """The loop does something else: put right what was counted, and learn anew."""
        self.settle()
        observer = self.observer
        observer.copies.done(used=observer.used)
        if observer.open and self.template is not None:
            t = self.template
            forward = Forward(t.root, t.training, observer.count, observer.activity, t.site)
            forward.calls = list(t.calls)
            if observer.used:
                observer.steps.trained = True
            observer.timeline.commit(forward, "training" if observer.used else "inference")
            observer.activity += observer.used  # the backward, which was not noted
            for call in t.calls:
                layer = observer.registry.layers[call[0]]
                layer.record.updates += call[2]
        self.active = observer.open = observer.used = False
        observer.call = observer.forwards.run
        self._streak = 0
        self._span = None

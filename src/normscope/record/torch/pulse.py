# pyright: basic
"""What every step of a loop touches.

Between two kernels caches are cold: a counted step costs less by what it computes than by the memory that it reads. So all that it
asks lies in one small object of fixed layout, and not in attributes of the parts that it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Pulse:
    """The state that patched functions and hooks ask at every step; `Routine`, `Steps` and `GradientSeries` keep it."""

    __slots__ = (
        "call",  # what runs each module call from outside any module
        "copy",  # the next counted forward has its input copied
        "copying",  # that of the open one was
        "count",  # steps
        "counted",  # those of them that the recording does not hold yet
        "full",  # the next forward is recorded in full
        "inside",  # an outermost module call runs
        "look_at",  # the step after which to look up again
        "open",  # a counted forward waits for its backward and step
        "quiet",  # the module call that runs is counted, not recorded
        "sample_at",  # steps done from which on the next optimizer to step has its gradients sampled
        "stepping",  # ids of optimizers whose steps are running
        "used",  # a backward began from the counted forward
    )

    def __init__(self) -> None:
        self.call: Callable[..., Any]  # set once there is one
        self.count = self.counted = self.look_at = self.sample_at = 0
        self.full = self.copy = False
        self.inside = self.quiet = self.open = self.used = self.copying = False
        self.stepping: list[int] = []

"""What a layer's inputs bring, batch by batch: the part that is the same however their moments are taken."""

from __future__ import annotations

from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from normscope.probes.population import Moments


class TooFewValuesError(Exception):
    """A batch with fewer than two values per channel at some layer: it has no variance."""


class Listener:
    """One layer's inputs: the `calls` that count and were pooled, and their `moments`."""

    def __init__(self, path: str, norm: _BatchNorm) -> None:
        self.path, self.norm = path, norm
        self.calls = 0
        self.moments: Moments | None = None

    def attach(self) -> None:
        raise NotImplementedError

    def detach(self) -> None:
        raise NotImplementedError

    def waiting(self) -> int:
        """Calls that were not pooled yet."""
        raise NotImplementedError

    def take_back(self) -> None:
        """The batch does not count."""
        raise NotImplementedError

    def pool(self, moments: Moments) -> None:
        self.moments = moments if self.moments is None else self.moments + moments

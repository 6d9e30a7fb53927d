# pyright: basic
"""Population statistics of a model's batch norms, in one pass or layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch.nn.modules.batchnorm import _BatchNorm

from normscope.errors import NormscopeError
from normscope.probes.attribution import restore, stored
from normscope.probes.population import Moments, install
from normscope.probes.replay import set_mode
from normscope.repairs.recalibration.batches import Batch, Feed
from normscope.repairs.recalibration.collecting import Collector
from normscope.repairs.recalibration.listening import TooFewValuesError
from normscope.repairs.recalibration.shortening import Shortening

Progress = Callable[[int], None]  # is told the samples of each batch that has run


@dataclass(slots=True)
class Estimate:
    """Moments and calls by the path of the layer; float64 on the host, so that it can travel between ranks."""

    moments: dict[str, Moments] = field(default_factory=dict[str, Moments])
    calls: dict[str, int] = field(default_factory=dict[str, int])
    samples: int = 0
    batches: int = 0
    skipped: int = 0  # batches with one value per channel somewhere
    few_at: str = ""  # where
    passes: int = 1

    def __add__(self, other: Estimate) -> Estimate:
        moments, calls = dict(self.moments), dict(self.calls)
        for path, m in other.moments.items():
            moments[path] = moments[path] + m if path in moments else m
            calls[path] = calls.get(path, 0) + other.calls[path]
        return Estimate(
            moments,
            calls,
            self.samples + other.samples,
            self.batches + other.batches,
            self.skipped + other.skipped,
            self.few_at or other.few_at,
            max(self.passes, other.passes),
        )

    def checked(self) -> Estimate:
        """Itself. Raises NormscopeError when no batch, or no layer, brought anything."""
        if not self.batches and self.skipped:
            raise NormscopeError(
                f"Every batch has one value per channel at `{self.few_at}`, of which there is no variance. "
                "Give batches of two samples or more."
            )
        if not self.batches:
            raise NormscopeError("The loader gives no batch, but statistics need at least one.")
        if not self.moments:
            raise NormscopeError(
                "No batch reached a batch norm that is to be recomputed. Does the model use them in its forward pass?"
            )
        return self


def one_pass(
    feed: Feed,
    norms: Mapping[str, _BatchNorm],
    batches: Iterable[tuple[Batch, int]],
    *,
    precise: bool = False,
    progress: Progress | None = None,
) -> Estimate:
    """Every layer's inputs while all of `norms` normalize with batch statistics, as in training. Inside `untouched`."""
    set_mode(feed.model, batch_stats=[*norms.values()])
    found = Estimate()
    run = feed.run_first
    with (
        Collector(norms, precise=precise) as collector,
        Shortening(feed.model, norms.values(), collector.called) as whole,
    ):
        for batch, samples in batches:
            try:
                run(batch)
            except TooFewValuesError as few:
                collector.take_back()
                found.skipped += 1
                found.few_at = str(few)
            else:
                if not found.batches:
                    run = _rest(feed, whole).run
                collector.commit()
                found.samples += samples
                found.batches += 1
            if progress is not None:
                progress(samples)
        found.moments, found.calls = collector.found()
    return found


def _rest(feed: Feed, whole: Shortening) -> Feed:
    """What runs the batches after the first one. A forward of the user's own may want the model as it is."""
    chain = whole.chain()
    return feed if chain is None or feed.forward is not None else feed.through(chain)


def layer_by_layer(
    feed: Feed,
    norms: Mapping[str, _BatchNorm],
    groups: Sequence[Sequence[str]],
    batches: Sequence[tuple[Batch, int]],
    *,
    pooled: Callable[[Callable[[], Estimate]], Estimate],
    precise: bool = False,
    progress: Progress | None = None,
) -> Estimate:
    """Each layer's inputs as they are when all layers before it normalize with population statistics.

    One pass over the batches for each group of layers that do not depend on each other. Gives the buffers back.
    """
    whole = Estimate()
    before = stored([*norms.values()])
    try:
        for group in groups:
            some = {path: norms[path] for path in group}
            part = pooled(
                lambda some=some: one_pass(feed, some, batches, precise=precise, progress=progress)
            )
            install({norms[path]: m for path, m in part.moments.items()})
            whole.moments |= part.moments
            whole.calls |= part.calls
            whole.samples, whole.batches = part.samples, part.batches
            whole.skipped, whole.few_at = part.skipped, part.few_at
    finally:
        restore(before)
    whole.passes = len(groups)
    return whole

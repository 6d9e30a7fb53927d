# pyright: basic
"""Recalibration: the running statistics of batch norms, recomputed from data at the weights as they are now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Literal

import torch
from torch import nn

from normscope.errors import NormscopeError
from normscope.probes.criteria import Criterion
from normscope.probes.feeding import Fed, Forward
from normscope.probes.setup import Given, Loader, Setup, prepared
from normscope.probes.untouched import untouched
from normscope.repairs.certificate import Certificate, Difference, LeftAlone, Score
from normscope.repairs.recalibration.batches import SAMPLES, Batch, Feed, as_fed, cut_short
from normscope.repairs.recalibration.certifying import Outputs, changes, notes
from normscope.repairs.recalibration.choosing import Chosen, Names, choose, user_model
from normscope.repairs.recalibration.estimating import Estimate, Progress, layer_by_layer, one_pass
from normscope.repairs.recalibration.installing import put
from normscope.repairs.recalibration.ordering import groups_of
from normscope.repairs.recalibration.ranks import Ranks
from normscope.repairs.recalibration.verdict import halves, is_better, judged, score_of


def recalibrate(
    model: nn.Module,
    loader: Loader,
    *,
    forward: Forward | None = None,
    layers: Names | None = None,
    frozen: Names = (),
    samples: int | None = SAMPLES,
    batches: int | None = None,
    exact: bool = False,
    precise: bool = False,
    keep: Literal["always", "better"] = "always",
    loss: Criterion | None = None,
    target: Callable[[Any], Any] | None = None,
    device: torch.device | str | None = None,
    ranks: Literal["all", "own"] = "all",
    compare: bool = True,
    progress: Progress | None = None,
) -> Certificate:
    """Replace the running statistics of `model`'s batch norms by population statistics, in place.

    Mean and variance over all values of all batches (not the mean of batch variances), while exactly the batch norms
    that are recomputed normalize with batch statistics: dropout is off, everything else is in eval mode. Modes, momenta,
    hooks, gradient flags and random states are afterwards as before; after an error, Ctrl-C included, so is every buffer.
    `num_batches_tracked` becomes the number of calls behind the new statistics, so that a cumulative average
    (`momentum=None`) goes on with the right weight.

    Args:
        model: also wrapped by DataParallel, DistributedDataParallel, `torch.compile` or AveragedModel.
        loader: batches of training data as training has them; or a function that returns them.
        forward: `forward(model, batch)`, where a batch does not fit the model's own signature.
        layers: only these: modules, paths, or prefixes of paths. Default: all that the user has not frozen,
            which is to set them to eval mode while the model trains, or `track_running_stats` to False.
        frozen: leave these alone.
        samples: at most about so many, in whole batches; None: the whole loader.
        batches: at most so many batches.
        exact: layer by layer, each on inputs that population statistics normalized: without the bias that batches
            of few values have below other batch norms. One pass for each group of layers that do not feed each other.
        precise: take moments from the inputs in float64 instead of from what the layers compute. Slower.
        keep: `better` gives the old statistics back unless the loss falls by more than twice its noise.
        loss: `loss(output, target)`. With it the loss is measured before and after, on other batches than those
            of the statistics; five more passes.
        target: `target(batch)`, where it is not the one part of a batch that the model is not given.
        device: where batches go; the device of the model's first parameter by default.
        ranks: under torch.distributed, `all` pools over all ranks, each of which must call this; `own` does not.
        compare: False leaves out what the certificate tells of outputs and layers before and after, which costs
            four passes of eight samples.
        progress: is told the samples of each batch that has run.

    Raises NormscopeError, the model untouched, for batches that do not fit or hold one value per channel, an empty
    loader, statistics that are not finite or that the buffers' precision cannot hold, and lazy models that never ran.

    References: Wu & Johnson 2021, section 3 and appendix, https://arxiv.org/abs/2105.07576; Chan, Golub & LeVeque 1979.
    """
    if keep not in ("always", "better") or ranks not in ("all", "own"):
        raise NormscopeError(
            f"`keep={keep!r}, ranks={ranks!r}` was given, but keep 'always' or 'better' and ranks 'all' or 'own' were expected."
        )
    if keep == "better" and loss is None:
        raise NormscopeError(
            "`keep='better'` needs a loss to tell what is better: `loss=torch.nn.CrossEntropyLoss()`."
        )
    team = Ranks(alone=ranks == "own")
    root = user_model(model)

    def begun() -> tuple[Chosen, Feed]:
        return choose(root, layers, frozen), Feed(root, forward, device, samples, batches)

    chosen, feed = _together(team, begun)
    work = _Work(feed, chosen, team, exact=exact, precise=precise, progress=progress)
    score: Score | None = None
    with untouched(root):
        if loss is None:
            found = work.stream(loader)
        else:
            setup = Setup(model=root, train=loader, loss=loss, forward=forward, target=target)
            found, score = work.judge(setup)
        found.checked()
        after = work.compared(found) if compare else ()
    kept = keep == "always" or (score is not None and is_better(score))
    moved = changes(chosen.norms, found) if compare else ()
    if kept:
        put(chosen.norms, found)
    return Certificate(
        repair="recalibrate",
        kind="changes-function",
        model=type(root).__name__,
        done=_done(root, found, exact=exact),
        kept=kept,
        samples=found.samples,
        batches=found.batches,
        passes=found.passes,
        ranks=team.size,
        layers=moved,
        left=chosen.left + work.unreached(found),
        differences=after,
        score=score,
        warnings=(*notes(found, exact=exact), *filter(None, [cut_short(loader, samples)])),
    )


def _together(team: Ranks, begin: Callable[[], Any]) -> Any:
    """What `begin` returns here, once it has worked everywhere; modules themselves do not travel."""
    kept: list[Any] = []
    team.gather(lambda: kept.append(begin()))
    return kept[0]


def _done(root: nn.Module, found: Estimate, *, exact: bool) -> str:
    passes = "one pass" if found.passes == 1 else f"{found.passes} passes"
    way = f"{passes}, layer by layer" if exact else passes
    n = len(found.moments)
    return (
        f"population statistics of {n} batch norm{'s' * (n != 1)} of `{type(root).__name__}` from "
        f"{found.samples:,} samples in {found.batches:,} batch{'es' * (found.batches != 1)} ({way})"
    )


class _Work:
    """One recalibration under way, inside `untouched`."""

    def __init__(
        self,
        feed: Feed,
        chosen: Chosen,
        team: Ranks,
        *,
        exact: bool,
        precise: bool,
        progress: Progress | None,
    ) -> None:
        self.feed, self.norms, self.team = feed, chosen.norms, team
        self.exact, self.precise, self.progress = exact, precise, progress
        self.first: Fed | None = None

    def stream(self, loader: Loader) -> Estimate:
        """Straight from the loader; layer by layer needs the batches again and keeps them."""
        feed = self.feed

        def opened() -> Iterator[tuple[Batch, int]]:
            source = feed.of(loader)
            first = [*islice(source, 1)]
            if first:
                self.first = as_fed(first[0][0])
            return chain(first, source)

        if not self.exact:
            return self.pooled(lambda: one_pass(feed, self.norms, opened(), **self._how))
        return self._layer_by_layer(_together(self.team, lambda: [*opened()]))

    def judge(self, setup: Setup) -> tuple[Estimate, Score]:
        """Statistics of both halves, each judged on the other; and those of the whole."""
        feed = self.feed

        def read() -> tuple[list[Given], int]:
            given = prepared(setup, samples=feed.samples or 2**62).train
            given = [*islice(given, feed.batches)]
            # The rest of an epoch, one sample, may have no batch statistics to be judged with.
            several = [b for b in given if b.samples > 1] or given
            return several, len(given) - len(several)

        batches, singles = _together(self.team, read)
        parts = _together(self.team, lambda: halves(batches))
        runs = [[(Fed(b.args, b.kwargs), b.samples) for b in part] for part in parts]
        whole = [(Fed(b.args, b.kwargs), b.samples) for b in batches]
        self.first = whole[0][0]
        if self.exact:
            one, two = (self._layer_by_layer(run) for run in runs)
            found = self._layer_by_layer(whole)
        else:
            one, two = (
                self.pooled(lambda run=run: one_pass(feed, self.norms, run, **self._how))
                for run in runs
            )
            found = one + two
        found.skipped += singles
        gaps = self.team.gather(lambda: judged(feed.model, self.norms, batches, (one, two)))
        return found, score_of(gaps)

    def compared(self, found: Estimate) -> tuple[Difference, ...]:
        """Outputs for the first samples with the old statistics, which are there until now, and with the new ones, which stay."""
        if self.first is None:  # other ranks had batches
            return ()
        outputs = Outputs.of(self.feed, self.norms, self.first)
        return outputs.again(self.feed, self.norms, found)

    def unreached(self, found: Estimate) -> tuple[LeftAlone, ...]:
        return tuple(
            LeftAlone(path=path, reason="no batch reached it")
            for path in self.norms
            if path not in found.moments
        )

    def pooled(self, work: Callable[[], Estimate]) -> Estimate:
        """The estimate over all ranks, added up in their order: the same bits on each."""
        first, *rest = self.team.gather(work)
        return sum(rest, start=first)

    @property
    def _how(self) -> dict[str, Any]:
        return {"precise": self.precise, "progress": self.progress}

    def _layer_by_layer(self, batches: Sequence[tuple[Batch, int]]) -> Estimate:
        feed = self.feed
        if not batches:
            return Estimate().checked()
        first = as_fed(batches[0][0])
        [groups, *_] = self.team.gather(
            lambda: groups_of(
                feed.model, self.norms, lambda: feed.run_first(first), (first.args, first.kwargs)
            )
        )
        return layer_by_layer(feed, self.norms, groups, batches, pooled=self.pooled, **self._how)

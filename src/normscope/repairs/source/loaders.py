"""Edits of the call that built the loader which training read: NS302, NS304."""

from __future__ import annotations

from collections.abc import Iterator

from normscope.finding import Finding
from normscope.record.recording import Recording
from normscope.record.written import Written
from normscope.repairs.source.edits import Proposal, Refusal
from normscope.repairs.source.remedies import keywords, setting


def loader(finding: Finding, recording: Recording) -> Iterator[Proposal]:
    """NS302, NS304: the loader whose batches were trained on, where there is one."""
    if not finding.repairs or not (wanted := keywords(finding)):
        return
    [(keyword, value), *_] = wanted.items()
    used = [w for w in recording.written if w.kind == "loader" and w.steps]
    if not used:
        yield Refusal("", "no `DataLoader` of your own code was seen to feed the training")
        return
    if len(used) > 1:
        places = ", ".join(str(w.place) for w in used)
        yield Refusal("", f"several loaders fed the training ({places}): which one is not known")
        return
    [call] = used
    if reason := _unfit(call, keyword):
        yield Refusal(str(call.place), reason)
    else:
        yield setting(call, keyword, value)


def _unfit(call: Written, keyword: str) -> str:
    if 2 * call.idle >= call.passes:
        return "the same call builds a loader that nothing was trained on"
    if call.batch_size is None:
        return "a batch sampler of your own makes its batches"
    if keyword == "drop_last" and (call.batch_size == 1 or call.drop_last):
        return f"it has batches of {call.batch_size}, drop_last={call.drop_last}: the short batch comes from elsewhere"
    if keyword == "shuffle" and call.shuffles is not False:
        return "it does not take the samples in order: they come sorted from elsewhere"
    return ""

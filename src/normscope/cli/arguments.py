"""Which words of `normscope run …` and `normscope trial …` are ours, and which belong to the script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from normscope.errors import NormscopeError, did_you_mean

HELP = ("--help", "-h")


def split_run(
    words: Sequence[str], options: Iterable[str], flags: Iterable[str] = (), command: str = "run"
) -> tuple[list[str], list[str]]:
    """Our words, and the command from the script, or from `-m`, on.

    `options` are ours; each takes a value, `flags` none. Raises NormscopeError for an unknown option before the script.
    """
    known, valueless = {*options, *flags}, set(flags)
    ours: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return ours, rest
        if word in HELP:
            return [word], []
        if word.startswith("-m"):
            return ours, ["-m", *([word[2:]] if word[2:] else []), *rest]
        if not word.startswith("-"):
            return ours, [word, *rest]
        name, equals, _ = word.partition("=")
        if name not in known:
            raise NormscopeError(
                f"`normscope {command}` has no option `{name}`.{did_you_mean(name, known)} "
                f"Options of the script come after it: `normscope {command} train.py --lr 0.1`."
            )
        ours.append(word)
        if equals and name in valueless:
            raise NormscopeError(f"The option `{name}` takes no value; got `{word}`.")
        if not equals and name not in valueless:
            if not rest:
                raise NormscopeError(f"The option `{name}` needs a value: `{name}=VALUE`.")
            ours.append(rest.pop(0))
    return ours, []

"""Run scripts under observation, each in a fork of one process that has imported torch once.

As a command it reads one script path per line and answers each with one line of JSON, in the order in which they
end; its argument is how many run at the same time.
"""

from __future__ import annotations

import io
import json
import os
import select
import sys
import tempfile
import tomllib
import traceback
import types
import warnings
from collections.abc import Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ALL = 1e9  # a budget under which nothing is left out


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one script printed, and what the diagnosis of its recording said.

    `error` is the script's, the observer's or the diagnosis' own traceback, or empty.
    """

    path: str
    status: str = ""
    findings: list[dict[str, Any]] = field(default_factory=list)
    printed: str = ""
    error: str = ""

    @property
    def primary(self) -> str | None:
        """The code of the first finding that blames something."""
        blamed = [f["code"] for f in self.findings if f["severity"] in ("warning", "error")]
        return blamed[0] if blamed else None

    @property
    def codes(self) -> set[str]:
        return {f["code"] for f in self.findings}


def warm() -> None:
    """Import what every script needs; no backward pass, because autograd's threads do not survive a fork."""
    import numpy  # noqa: F401
    import sklearn.datasets
    import sklearn.model_selection
    import sklearn.preprocessing
    import torch
    import torch._dynamo
    import torch.utils.checkpoint
    import torch.utils.data

    import normscope.catalogue
    import normscope.diagnosis
    import normscope.live

    # Keras' backend is chosen once in a process: the scripts of all twins run on PyTorch.
    os.environ["KERAS_BACKEND"] = "torch"
    import keras  # noqa: F401

    import normscope.keras

    normscope.catalogue.selection()
    torch.set_num_threads(1)
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)


def run_all(paths: Iterable[Path], jobs: int = 1, budget: float = ALL) -> Iterator[Outcome]:
    """Outcomes in the order in which the scripts end. `budget`: share of a script's time that observing may take.

    By default all that can be seen is looked at: how busy the machine is must not decide a test.
    """
    waiting, running = list(reversed(list(paths))), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            path = waiting.pop()
            reader, pid = _fork(path, budget)
            running[reader] = (path, pid, bytearray())
        for reader in select.select(list(running), [], [])[0]:
            path, pid, data = running[reader]
            chunk = os.read(reader, 1 << 16)
            if chunk:
                data += chunk
                continue
            os.close(reader)
            _, code = os.waitpid(pid, 0)
            del running[reader]
            yield Outcome(**json.loads(data)) if data else Outcome(str(path), error=f"exit {code}")


def _fork(path: Path, budget: float) -> tuple[int, int]:
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return reader, pid
    os.close(reader)
    status = 1
    try:
        _read_nothing()
        with os.fdopen(writer, "wb") as pipe, tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            pipe.write(json.dumps(_observed(path, Path(folder) / "run.nscope", budget)).encode())
        status = 0
    finally:
        os._exit(status)  # the parent's atexit handlers and buffers are not ours


def _read_nothing() -> None:
    """Give the script an empty standard input: ours may carry the names of the scripts to come."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115


def _observed(path: Path, file: Path, budget: float) -> dict[str, Any]:
    printed = io.StringIO()
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            diagnosis = _diagnosed(path, file, budget)
    except BaseException:
        return {"path": str(path), "printed": printed.getvalue(), "error": traceback.format_exc()}
    import msgspec

    return {
        "path": str(path),
        "status": diagnosis.verdict.status,
        "findings": msgspec.to_builtins(diagnosis.findings),
        "printed": printed.getvalue(),
    }


def _diagnosed(path: Path, file: Path, budget: float) -> Any:
    from normscope.diagnosis import diagnose
    from normscope.record.store import Store, load
    from normscope.keras import finish as finish_keras
    from normscope.keras import observe as observe_keras
    from normscope.live import finish, observe

    warnings.resetwarnings()
    store = Store.create(file)
    observer = observe(store, budget=budget, keep_bytes=64 << 20, steps=None)
    keras_observer = observe_keras(store, budget=budget, keep_bytes=64 << 20, steps=None)
    crash = ""
    try:
        execute(path)
    except Exception as error:
        # A script may end so: that its diagnosis blames something is what makes it no error of ours.
        crash = traceback.format_exc()
        observer.event("crash", detail=f"{type(error).__name__}: {error}")
    finally:
        finish(observer, probe=not crash)
        finish_keras(keras_observer, probe=not crash)
        store.close()
    diagnosis = diagnose(load(file), _selected(path))
    if crash and diagnosis.verdict.status in ("healthy", "not_evaluated"):
        raise RuntimeError(crash)
    return diagnosis


def _selected(path: Path) -> Any:
    """The rules that the pair asks for; None: all that are on by default."""
    from normscope.catalogue import selection

    told = path.parent / "pair.toml"
    asked = tomllib.loads(told.read_text(encoding="utf-8")).get("select") if told.exists() else None
    return selection(asked) if asked else None


def execute(path: Path) -> None:
    """Run `path` as `python path` would: its own `__main__`, `sys.argv` and `sys.path[0]`."""
    module = types.ModuleType("__main__")
    module.__file__ = str(path)
    sys.modules["__main__"] = module
    sys.argv = [str(path)]
    sys.path.insert(0, str(path.parent))
    try:
        exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), module.__dict__)
    except SystemExit as end:
        if end.code not in (None, 0):
            raise


def main() -> None:
    warm()
    paths = [Path(line.strip()) for line in sys.stdin]
    for outcome in run_all(paths, jobs=int(sys.argv[1])):
        print(json.dumps({name: getattr(outcome, name) for name in Outcome.__slots__}), flush=True)


if __name__ == "__main__":
    main()

"""In the process of the script: notes every path in the journal before the script opens it for writing, removes or renames it."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from normscope.trials.files.journal import Journal

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Guard:
    """Paths below `spared` are not noted: the trial's own, and those that the user lets runs share.

    `failed` is called with a sentence when a path cannot be kept; it must not return.
    """

    def __init__(
        self, folder: Path, spared: Sequence[str], failed: Callable[[str], object]
    ) -> None:
        self._journal = Journal(folder)
        self._spared = [*map(_place, spared), *_caches()]
        self._failed = failed
        self._busy = threading.local()
        self._handlers: dict[str, Callable[..., None]] = {
            "open": self._open,
            "os.rename": self._rename,
            "os.remove": self._remove,
            "os.rmdir": self._remove,
            "os.mkdir": self._mkdir,
            "os.truncate": self._truncate,
            "os.link": self._link,
            "os.symlink": self._symlink,
            "shutil.rmtree": self._tree,
            "sqlite3.connect": self._sqlite,
            "tempfile.mkstemp": self._spare,
            "tempfile.mkdtemp": self._spare,
        }

    def install(self) -> None:
        """Python's own writers from now on; those of other languages when `of_torch` and its likes are called."""
        sys.addaudithook(self._hook)

    def note(self, path: Any, fd: int | None = None, *, follow: bool = True) -> None:
        """Keep what a path names, before it is written to; `follow`: through symbolic links."""
        if isinstance(path, int):
            return
        where = _place(path, fd, follow=follow)
        if not self._is_spared(where):
            self._journal.note(where)

    def _is_spared(self, where: str) -> bool:
        if not where or where.startswith(("/dev/", "/proc/", "/sys/")) or "/__pycache__/" in where:
            return True
        return any(where == s or where.startswith(s + os.sep) for s in self._spared)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        handler = self._handlers.get(event)
        if handler is None or getattr(self._busy, "on", False):
            return
        self._run(handler, *args)

    def _run(self, handler: Callable[..., None], *args: Any) -> None:
        """Our own file operations raise the same events, and are none of the script's."""
        self._busy.on = True
        try:
            handler(*args)
        except OSError as error:
            self._failed(
                f"no copy could be kept of `{args[0]}` before the script would have changed it: {error}"
            )
        finally:
            self._busy.on = False

    def _open(self, path: Any, _mode: Any, flags: int) -> None:
        if flags & WRITES:
            self.note(path)

    def _rename(self, src: Any, dst: Any, src_fd: int = -1, dst_fd: int = -1) -> None:
        for path, fd in ((src, src_fd), (dst, dst_fd)):
            self._tree(path, fd)

    def _truncate(self, path: Any, _length: int) -> None:
        self.note(path)

    def _link(self, _src: Any, dst: Any, _src_fd: int = -1, dst_fd: int = -1) -> None:
        self.note(dst, dst_fd, follow=False)

    def _symlink(self, _src: Any, dst: Any, fd: int = -1) -> None:
        self.note(dst, fd, follow=False)

    def _remove(self, path: Any, fd: int = -1) -> None:
        self.note(path, fd, follow=False)

    def _tree(self, path: Any, fd: int | None = None) -> None:
        where = _place(path, fd, follow=False)
        if not self._is_spared(where):
            self._journal.note_tree(where)

    def _mkdir(self, path: Any, _mode: int = 0o777, fd: int = -1) -> None:
        where = _place(path, fd, follow=False)
        if not self._is_spared(where):
            self._journal.note_folder(where)

    def _sqlite(self, database: Any) -> None:
        name = os.fsdecode(database) if isinstance(database, (str, bytes)) else str(database)
        name = name.removeprefix("file:").partition("?")[0]
        if name and name != ":memory:":
            for suffix in ("", "-wal", "-shm", "-journal"):
                self.note(name + suffix)

    def _spare(self, path: Any) -> None:
        """A name that no other run can have."""
        self._spared.append(_place(path))

    def of_torch(self, torch: Any) -> None:
        for place in (torch, torch.jit):
            place.save = self._before(place.save, 1)

    def of_safetensors(self, safetensors: Any) -> None:
        safetensors.serialize_file = self._before(safetensors.serialize_file, 1)

    def of_h5py(self, h5py: Any) -> None:
        init = h5py.File.__init__

        def opened(file: Any, name: Any, mode: str = "r", *args: Any, **words: Any) -> None:
            if mode != "r" and isinstance(name, (str, bytes, os.PathLike)):
                self._run(self.note, name)
            init(file, name, mode, *args, **words)

        h5py.File.__init__ = opened

    def _before(self, save: Callable[..., Any], place: int) -> Callable[..., Any]:
        """A function that writes a file by itself, named by the argument at `place`."""
        from functools import wraps

        @wraps(save)
        def saved(*args: Any, **words: Any) -> Any:
            given = args[place] if len(args) > place else words.get("f", words.get("filename"))
            if isinstance(given, (str, bytes, os.PathLike)):
                self._run(self.note, given)
            return save(*args, **words)

        return saved


def _place(path: Any, fd: int | None = None, *, follow: bool = True) -> str:
    """Absolute, without symbolic links on the way, and at the end where it is followed; empty where that cannot be told."""
    name = os.fsdecode(path)
    if fd is not None and fd >= 0 and not os.path.isabs(name):
        if not os.path.isdir("/proc/self/fd"):
            return ""  # only `shutil.rmtree` names files so, and it told its folder before
        name = os.path.join(os.readlink(f"/proc/self/fd/{fd}"), name)
    if follow:
        return os.path.realpath(name)
    folder, last = os.path.split(os.path.abspath(name))
    return os.path.join(os.path.realpath(folder), last)


def _caches() -> list[str]:
    """What is derived from its own key, and may be shared by runs as it is by scripts."""
    user = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    compiled = os.environ.get("TORCHINDUCTOR_CACHE_DIR") or os.path.join(
        tempfile.gettempdir(), f"torchinductor_{os.environ.get('USER', 'root')}"
    )
    return [os.path.realpath(user), os.path.realpath(compiled)]

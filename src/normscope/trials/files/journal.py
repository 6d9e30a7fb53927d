"""The journal of one run: an entry for each path that it touched, written before the run may touch it.

A folder of small files, one for each path, so that processes of a run which were forked share it, and a kill at any moment leaves every entry
whole or absent. A copy is complete before its entry exists.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

Kind = Literal["file", "link", "folder", "new", "new folder"]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What `path` was before the run: a file (copied), a symbolic link, a folder, or nothing (`new`, `new folder`)."""

    path: str
    kind: Kind
    copy: str = ""  # its name in the journal
    target: str = ""  # of a link
    mode: int = 0
    size: int = 0
    mtime: int = 0  # nanoseconds
    inode: int = 0


class Journal:
    """Raises OSError where an entry cannot be written, as on a full disk: then the path must not be touched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: set[str] = set()

    def note(self, path: str) -> None:
        """Keep what is at `path` now, unless the run touched it before. Devices, pipes and sockets are left out."""
        if path in self._known:
            return
        name = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
        with self._locked():
            new = not (self.folder / f"{name}.entry").exists()
            if new and (entry := self._entry(path, name)) is not None:
                self._write(name, entry)
        self._known.add(path)

    def note_tree(self, path: str) -> None:
        """Keep a folder with all that is in it."""
        self.note(path)
        if os.path.isdir(path) and not os.path.islink(path):
            for folder, folders, files in os.walk(path):
                for one in (*folders, *files):
                    self.note(os.path.join(folder, one))

    def note_folder(self, path: str) -> None:
        """A folder that is about to be made."""
        if not os.path.lexists(path) and path not in self._known:
            name = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
            with self._locked():
                if not (self.folder / f"{name}.entry").exists():
                    self._write(name, Entry(path=path, kind="new folder"))
            self._known.add(path)

    def entries(self) -> Iterator[tuple[Path, Entry]]:
        """Every entry with its file."""
        for file in sorted(self.folder.glob("*.entry")):
            yield file, msgspec.json.decode(file.read_bytes(), type=Entry)

    def _entry(self, path: str, name: str) -> Entry | None:
        try:
            known = os.lstat(path)
        except OSError:
            return Entry(path=path, kind="new")
        if stat.S_ISLNK(known.st_mode):
            return Entry(path=path, kind="link", target=os.readlink(path))
        if stat.S_ISDIR(known.st_mode):
            return Entry(path=path, kind="folder", mode=stat.S_IMODE(known.st_mode))
        if not stat.S_ISREG(known.st_mode):
            return None
        part = self.folder / f"{name}.part"
        shutil.copyfile(path, part)
        _to_disk(part)
        os.replace(part, self.folder / f"{name}.copy")
        return Entry(
            path=path,
            kind="file",
            copy=f"{name}.copy",
            mode=stat.S_IMODE(known.st_mode),
            size=known.st_size,
            mtime=known.st_mtime_ns,
            inode=known.st_ino,
        )

    def _write(self, name: str, entry: Entry) -> None:
        part = self.folder / f"{name}.part"
        part.write_bytes(msgspec.json.encode(entry))
        _to_disk(part)
        os.replace(part, self.folder / f"{name}.entry")

    @contextmanager
    def _locked(self) -> Generator[None]:
        """One process of the run at a time: none may write to a file that another is copying still."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _to_disk(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())

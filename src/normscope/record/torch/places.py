# pyright: basic
"""Which call of the user's built a layer or a loader, called a norm function, or called a model: exact places.

A constructor only notes the code and the instruction that called it. Columns are looked up when a model that holds the
layer is first seen, once for each call in the source.
"""

from __future__ import annotations

import dis
import hashlib
import os
import time
import weakref
from collections.abc import Callable
from itertools import islice
from numbers import Integral
from sys import _getframe
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch.nn.functional as F
from torch import is_grad_enabled, nn
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler

from normscope.graph.model import Site
from normscope.graph.torch import contents
from normscope.graph.torch.location import shown
from normscope.record.guard import guarded
from normscope.record.recording import Layer
from normscope.record.torch import patches
from normscope.record.torch.norms import clean_path, kind_of
from normscope.record.torch.roots import Root
from normscope.record.torch.stack import OURS, is_library
from normscope.record.written import Member, Place, Source, Written, WrittenKind

if TYPE_CHECKING:
    from normscope.record.torch.observer import Observer

CALLS = frozenset(n for name, n in dis.opmap.items() if name.startswith(("CALL", "PRECALL")))
CACHE = dis.opmap.get("CACHE", 0)
MOST = 10_000  # calls in one run


# Whether a sampler draws at random; one of the user's own may do anything.
_SHUFFLES: dict[type, bool] = {RandomSampler: True, SequentialSampler: False}


class Spot(NamedTuple):
    """A call in running code: its instruction, and the code that it enters."""

    code: CodeType
    instruction: int
    entered: CodeType


class Places:
    """Notes where things were built. Holds no module and no loader: only their ids, with weak references."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self._made: dict[int, tuple[Callable[[], object], Spot]] = {}
        self._written: dict[tuple[CodeType, int, WrittenKind], Written | None] = {}
        self._all: list[Written] = []
        self._files: set[str] = set()
        self._sites: set[tuple[Site | None, int]] = set()
        self._loader: tuple[Written, int] | None = None  # begun last, and counted up to which step
        self._idle = False  # no step was done since it began
        self._began = time.time()

    # ---- noting ---------------------------------------------------------------------------------

    @guarded
    def built(self, thing: Any, frame: FrameType | None, entered: CodeType) -> None:
        """A constructor is over that `frame` called; `entered` is its code."""
        while frame is not None and is_library(frame.f_code.co_filename):
            entered = frame.f_code
            frame = frame.f_back
        if frame is None:
            return
        key, made = id(thing), self._made
        spot = Spot(frame.f_code, frame.f_lasti, entered)
        made[key] = weakref.ref(thing, lambda _: made.pop(key, None)), spot

    @guarded
    def model(self, root: Root, module: nn.Module) -> None:
        """A model is seen for the first time: its layers are the members of the calls that built them."""
        for path, child in contents.named_modules(module):
            self._member(child, Member(root.record.id, clean_path(path)))

    @guarded
    def adopted(self, record: Layer, module: nn.Module) -> None:
        """A norm layer is seen for the first time, be it one that `named_modules` does not reach."""
        self._member(module, Member(record.model, record.path))

    @guarded
    def function(self, layer: Layer) -> None:
        """A norm function runs for a layer that has not been called before: whether the user's own code calls it."""
        frame: FrameType | None = _getframe(1)
        # Above our own frames is that of `F.batch_norm` itself, where it asks by itself.
        asked = F.batch_norm.__code__
        while frame is not None and (
            frame.f_code is asked or frame.f_code.co_filename.startswith(OURS)
        ):
            frame = frame.f_back
        if frame is None or is_library(frame.f_code.co_filename):
            return
        code = frame.f_code
        first = code.co_varnames[0] if code.co_argcount else ""
        owner = first if isinstance(frame.f_locals.get(first), nn.Module) else ""
        entered = patches.originals["batch_norm"].__code__
        written = self._at(Spot(code, frame.f_lasti, entered), "function")
        if written is not None:
            written.owner = owner
            self._add(written, Member(layer.model, layer.path))

    @guarded
    def called(self, root: Root, site: Site | None, frame: FrameType) -> None:
        """A model is called by `frame`, in the line `site`; a compiled one through its wrapper."""
        if (site, root.record.id) in self._sites:
            return
        self._sites.add((site, root.record.id))
        caller, last = frame, None
        while caller is not None and is_library(caller.f_code.co_filename):
            last, caller = caller, caller.f_back
        if caller is None or (
            last is not None and not isinstance(last.f_locals.get("self"), nn.Module)
        ):
            return  # a library calls the model, not a wrapper of it that the user called
        written = self._at(Spot(caller.f_code, caller.f_lasti, caller.f_code), "forward")
        if written is not None:
            self._add(written, Member(root.record.id, ""))

    @guarded
    def iterated(self, loader: DataLoader[Any]) -> None:
        """A pass over a loader begins: the steps until the next one begins are its, unless gradients are off."""
        known = self._made.get(id(loader))
        if known is None or known[0]() is not loader:
            return
        written = self._at(known[1], "loader")
        if written is None:
            return
        # A subclass may lack any of these, or mean something else by them.
        size, sampler = getattr(loader, "batch_size", None), getattr(loader, "sampler", None)
        written.batch_size = int(size) if isinstance(size, Integral) else None
        written.drop_last = getattr(loader, "drop_last", None) is True
        written.shuffles = _SHUFFLES.get(type(sampler))
        written.passes += 1
        written.idle += 1  # until it has a step
        self._put(written)
        if is_grad_enabled():
            self._count_steps()
            self._loader = written, self.observer.steps.count
            self._idle = True

    def refresh(self) -> None:
        """Bring the steps of the loader in use up to date."""
        self._count_steps()

    # ---- looking up -----------------------------------------------------------------------------

    def _count_steps(self) -> None:
        if self._loader is None:
            return
        written, since = self._loader
        now = self.observer.steps.count
        if now > since:
            written.steps += now - since
            written.idle -= self._idle
            self._idle = False
            self._put(written)
        self._loader = written, now

    def _member(self, module: nn.Module, member: Member) -> None:
        known = self._made.get(id(module))
        if known is None or known[0]() is not module:
            return
        written = self._at(known[1], "affine" if kind_of(module) is None else "norm")
        if written is not None:
            self._add(written, member)

    def _add(self, written: Written, member: Member) -> None:
        if member not in written.members:
            written.members = (*written.members, member)
            self._put(written)

    def _put(self, written: Written) -> None:
        self.observer.store.put("written", written.id, written)

    def _at(self, spot: Spot, kind: WrittenKind) -> Written | None:
        """What is known of the call; None where its place in a file cannot be told."""
        key = (spot.code, spot.instruction, kind)
        if key in self._written:
            return self._written[key]
        written = None
        if (place := _place(spot)) is not None and len(self._all) < MOST:
            code = spot.entered
            count = code.co_argcount + code.co_kwonlyargcount
            written = Written(
                id=len(self._all),
                kind=kind,
                place=place,
                enters=code.co_qualname,
                parameters=() if kind == "forward" else _own(code.co_varnames[:count], code),
                open=bool(code.co_flags & 0x08),
            )
            self._all.append(written)
            self._source(spot.code.co_filename)
        self._written[key] = written
        return written

    def _source(self, file: str) -> None:
        """Keep the digest of a file, once. One that is younger than the run is not what runs."""
        if file in self._files:
            return
        self._files.add(file)
        path = os.path.abspath(file)
        try:
            fresh = os.stat(path).st_mtime <= self._began
            with open(path, "rb") as opened:
                digest = hashlib.sha256(opened.read()).hexdigest() if fresh else ""
        except OSError:
            return  # no file: typed at a prompt, or generated
        self.observer.store.put("source", len(self._files), Source(shown(file), path, digest))


def _own(names: tuple[str, ...], code: CodeType) -> tuple[str, ...]:
    """Without the object itself, which the call does not name."""
    return names[1:] if code.co_name == "__init__" else names


def _place(spot: Spot) -> Place | None:
    """The range of the call expression that the instruction belongs to."""
    code, at = spot.code.co_code, spot.instruction
    while at > 0 and code[at] == CACHE:
        at -= 2  # a call of Python from Python stands behind the room that the instruction keeps for itself
    if code[at] not in CALLS:
        return None  # an iteration, an operator, an attribute
    ranges = spot.code.co_positions()
    line, end_line, column, end_column = next(
        islice(ranges, spot.instruction // 2, None), (None,) * 4
    )
    if line is None or end_line is None or column is None or end_column is None:
        return None  # Python was told to keep no columns
    return Place(shown(spot.code.co_filename), line, end_line, column, end_column)

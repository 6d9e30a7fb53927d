# pyright: basic
"""Checkpoints, read without running code that is hidden in them, and put into a model that is to be checked."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from normscope.checking.target import shortened
from normscope.errors import NormscopeError
from normscope.record.recording import Loaded
from normscope.record.torch.checkpoints import given_by

DEPTH = 3  # of dictionaries around the state dict: {"model": {"state_dict": …}}


def read(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name. Raises NormscopeError for a file that is none, or that wants to run code."""
    if not path.is_file():
        raise NormscopeError(
            f"There is no checkpoint `{path}`. Expected a file of torch.save or safetensors."
        )
    try:
        held = _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    except NormscopeError:
        raise
    except pickle.UnpicklingError as error:
        # Text and pictures are no pickles at all; a pickle begins with its protocol.
        with path.open("rb") as file:
            pickled = file.read(1) == pickle.PROTO
        if pickled or "Unsupported operand" not in str(error):
            raise NormscopeError(
                f"`{path}` is a pickle that wants to run code, so it was not opened. Save tensors alone: "
                "`torch.save(model.state_dict(), file)`."
            ) from None
        raise NormscopeError(
            f"`{path}` is no checkpoint: it does not hold what torch.save writes. Expected a file of torch.save or safetensors."
        ) from None
    except Exception as error:  # noqa: BLE001  damaged files raise whatever their reader meets first
        raise NormscopeError(
            f"`{path}` cannot be read as a checkpoint ({type(error).__name__}: {_line(error)}). Expected a file of torch.save "
            "or safetensors; it may be cut off."
        ) from None
    return _state_in(held, path)


def _torch(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of protocols that it may not read: then it raises
        return torch.load(path, map_location="cpu", weights_only=True)


def _safetensors(path: Path) -> Any:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise NormscopeError(
            f"`{path}` needs the package safetensors, which is not installed: `pip install safetensors`."
        ) from None
    return load_file(path)


def _state_in(held: Any, path: Path) -> dict[str, torch.Tensor]:
    """The largest table of tensors in the file: trainers keep optimizers and counters beside it."""
    tables = list(_tables(held, DEPTH))
    if not tables:
        raise NormscopeError(
            f"`{path}` holds no state dict, but {type(held).__name__}. Expected names with tensors, as "
            "`model.state_dict()` gives them."
        )
    return max(tables, key=len)


def _tables(value: Any, depth: int) -> Iterator[dict[str, torch.Tensor]]:
    if not isinstance(value, Mapping) or not depth:
        return
    found = {k: v for k, v in value.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}
    if found:
        yield found
    for inner in value.values():
        yield from _tables(inner, depth - 1)


def load_into(model: nn.Module, path: Path) -> dict[nn.Module, Loaded | None]:
    """Put the checkpoint into the model as far as the names agree, and tell what each norm layer got.

    Raises NormscopeError when shapes disagree, or when no name does and none only lacks a prefix.
    """
    state = read(path)
    try:
        unmatched = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise NormscopeError(
            f"`{path}` does not fit the model: {_line(error)}. Give the factory of the model that was saved."
        ) from None
    missing, unexpected = set(unmatched.missing_keys), set(unmatched.unexpected_keys)
    given: dict[nn.Module, Loaded | None] = {
        norm: now.loaded for norm, now in given_by(model, missing, unexpected)
    }
    if len(unexpected) == len(state) and "misnamed" not in given.values():
        raise NormscopeError(
            f"`{path}` has no name in common with the model ({min(state)}, … against "
            f"{min(model.state_dict(), default='nothing')}, …). Give the factory of the model that was saved."
        )
    return given


def _line(error: Exception) -> str:
    return shortened(" ".join(str(error).split()) or "no message", 200).rstrip(".")

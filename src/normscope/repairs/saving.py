# pyright: basic
"""A repaired model's weights on disk, in the format that the file's suffix names."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from normscope.errors import NormscopeError
from normscope.repairs.recalibration.choosing import user_model

SAFE, PICKLED = (".safetensors",), (".pt", ".pth", ".bin")


def check_suffix(path: Path) -> None:
    """Raises NormscopeError for a suffix that names no format of weights, and for a format that is not installed."""
    if path.suffix.lower() not in (*SAFE, *PICKLED):
        raise NormscopeError(
            f"Which format is `{path}`? Name it `{path.stem}.safetensors`, or `{path.stem}.pt` for torch.save."
        )
    if path.suffix.lower() in SAFE:
        try:
            import safetensors.torch  # noqa: F401  # pyright: ignore[reportUnusedImport]
        except ModuleNotFoundError:
            raise NormscopeError(
                f"`{path}` needs the package safetensors: `pip install safetensors`, or name it `{path.stem}.pt`."
            ) from None


def save(model: nn.Module, path: Path) -> None:
    """Write the state dict of the user's model, without wrappers around it. Raises NormscopeError when that fails."""
    state = user_model(model).state_dict()
    part = path.with_name(f"{path.name}.part")  # an interrupt leaves the file that was there
    try:
        if path.suffix.lower() in SAFE:
            from safetensors.torch import save_file

            # A file holds each tensor by itself: what is shared is written once for each of its names.
            tensors = {k: v.detach().cpu().contiguous().clone() for k, v in state.items()}
            save_file(tensors, part)
        else:
            torch.save(state, part)
        os.replace(part, path)
    except OSError as error:
        raise NormscopeError(f"Cannot write `{path}`: {error.strerror or error}.") from None
    finally:
        part.unlink(missing_ok=True)

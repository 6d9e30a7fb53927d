"""How rules word what they found."""

from __future__ import annotations


def batch_norms(count: int) -> str:
    """`1 batch norm`, `3 batch norms`."""
    return "1 batch norm" if count == 1 else f"{count} batch norms"

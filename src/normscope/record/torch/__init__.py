"""The observer for PyTorch: what a run does, seen from inside its process, without changing it."""

from normscope.record.torch.observer import Observer, active, observe

__all__ = ["Observer", "active", "observe"]

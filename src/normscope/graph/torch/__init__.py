"""Graph capture for PyTorch: one real forward pass, read off the ATen operations that it runs."""

from normscope.graph.torch.capture import Capture, capture
from normscope.graph.torch.tensors import tensors_of

__all__ = ["Capture", "capture", "tensors_of"]

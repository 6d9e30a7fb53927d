"""Graphs of Keras 3 models, from one symbolic call: shapes alone, whatever the backend."""

from normscope.graph.keras.capture import capture
from normscope.graph.keras.layers import children_of, paths_in

__all__ = ["capture", "children_of", "paths_in"]

"""NS110 counts layers that last one by one, and those that each forward builds anew once for their line."""

from __future__ import annotations

import msgspec

from normscope.graph.model import Site
from normscope.record.story import story
from normscope.rules.structure.unregistered_batchnorm import unregistered_batchnorm

THREE = "; ".join(f"layer {k} registered=False optimized=False" for k in "abc")


def counted(text: str) -> list[float]:
    """How many norms the findings name, when all of them are called from one line under one name."""
    recording = story(text)
    for number, layer in recording.layers.items():
        recording.layers[number] = msgspec.structs.replace(
            layer, path="BatchNorm2d", site=Site("net.py", 16)
        )
    return [f.measured[0].value for f in unregistered_batchnorm.check(recording)]


def test_a_list_that_a_loop_calls() -> None:
    assert counted(f"{THREE}; train a,b,c trainable=True x50") == [3]


def test_one_norm_of_a_list_at_a_time() -> None:
    assert counted(f"{THREE}; {'; '.join(f'train {k} trainable=True x50' for k in 'abc')}") == [3]


def test_built_anew_and_still_alive() -> None:
    assert counted(f"{THREE}; {'; '.join(f'train {k} trainable=True x1' for k in 'abc')}") == [1]


def test_built_anew_in_two_sizes() -> None:
    text = THREE.replace("optimized=False", "optimized=False instances=50")
    assert counted(f"{text}; train a,b,c trainable=True x50") == [1]

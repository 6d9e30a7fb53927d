"""Seeds are moved wherever a script gives them; at offset 0 nothing is touched."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
import torch

from normscope.trials import seeding
from normscope.trials.arms import arms_of
from normscope.trials.functions import run_once
from normscope.trials.patches import Patches

DRAWS = {
    "torch.manual_seed": lambda: (torch.manual_seed(0), torch.rand(3).tolist())[1],
    "torch.random.manual_seed": lambda: (torch.random.manual_seed(0), torch.rand(3).tolist())[1],
    "torch.Generator": lambda: torch.rand(3, generator=torch.Generator().manual_seed(0)).tolist(),
    "torch.Generator unseeded": lambda: torch.rand(3, generator=torch.Generator()).tolist(),
    "torch default": lambda: torch.rand(3).tolist(),
    "random.seed": lambda: (random.seed(0), random.random())[1],
    "random.Random": lambda: random.Random(0).random(),
    "random unseeded": lambda: random.random(),
    "numpy.random.seed": lambda: (np.random.seed(0), np.random.rand())[1],
    "numpy default_rng": lambda: np.random.default_rng(0).random(),
    "numpy RandomState": lambda: np.random.RandomState(0).rand(),
    "numpy SeedSequence": lambda: np.random.default_rng(np.random.SeedSequence(0)).random(),
    "numpy PCG64": lambda: np.random.Generator(np.random.PCG64(0)).random(),
    "a whole number of numpy": lambda: (torch.manual_seed(np.int64(3)), torch.rand(1).item())[1],
    "a list for numpy": lambda: np.random.default_rng([0, 7]).random(),
    "a text for random": lambda: random.Random("digits").random(),
    "numpy unseeded": lambda: np.random.rand(),
}


def drawn(draw, seed):
    kept = []
    run = run_once(lambda: kept.append(draw()) or 0.0, arms_of("lr:x1")[0], seed)
    assert run.status == "finished", run.reason
    return kept[0]


@pytest.mark.parametrize("name", DRAWS)
def test_every_way_of_seeding_is_moved_and_reproducible(name):
    draw = DRAWS[name]
    values = [drawn(draw, seed) for seed in (0, 1, 2, 0, 1)]
    assert values[0] != values[1] != values[2] != values[0]
    assert (values[3], values[4]) == (values[0], values[1])


@pytest.mark.parametrize("name", [n for n in DRAWS if "unseeded" not in n and "default" not in n])
def test_offset_0_is_the_seed_that_was_given(name):
    assert drawn(DRAWS[name], 0) == DRAWS[name]()


def test_nothing_is_patched_at_offset_0():
    before = torch.manual_seed, torch.Generator, np.random.RandomState, random.seed, random.Random
    patches = Patches()
    state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        seeding.of_python(0, patches)
        seeding.of_numpy(np, 0, patches)
        seeding.of_torch(torch, 0, patches)
        after = (
            torch.manual_seed,
            torch.Generator,
            np.random.RandomState,
            random.seed,
            random.Random,
        )
        assert after == before
        assert torch.equal(torch.get_rng_state(), state[2])
    finally:
        random.setstate(state[0])
        np.random.set_state(state[1])


def test_stand_ins_pass_for_the_classes():
    patches = Patches()
    state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    generator = torch.Generator()
    array = np.random.RandomState(1)
    try:
        seeding.of_python(7, patches)
        seeding.of_numpy(np, 7, patches)
        seeding.of_torch(torch, 7, patches)
        assert isinstance(generator, torch.Generator)
        assert isinstance(torch.Generator(), type(generator))
        assert isinstance(array, np.random.RandomState)
        assert isinstance(np.random.PCG64(1), np.random.BitGenerator)
        assert isinstance(np.random.SeedSequence(1), np.random.SeedSequence)
        copied = pickle.loads(pickle.dumps(np.random.RandomState(3)))
        assert copied.rand() == np.random.RandomState(3).rand()
        torch.randperm(4, generator=torch.Generator().manual_seed(2))
    finally:
        patches.undo()
        random.setstate(state[0])
        np.random.set_state(state[1])
        torch.set_rng_state(state[2])


@pytest.mark.parametrize(
    ("seed", "moved"),
    [
        (0, 5),
        (3, 8),
        (2**32 - 2, 4),
        (-1, 4),
        (2**40, 2**40 + 5),
        (None, None),
        (True, True),
        (np.int64(3), 8),
        (0.5, 5.5),
        ("a", "a+5"),
        (b"a", b"a5"),
        ((1, 2), [6, 2]),
        ([], []),
    ],
)
def test_moved(seed, moved):
    assert seeding.moved(seed, 5) == moved

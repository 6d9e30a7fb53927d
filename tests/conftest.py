"""Every test begins with the same random numbers and computes on one thread, whatever ran before it."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
import torch

os.environ["OMP_NUM_THREADS"] = "1"  # for what the tests start


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Before fixtures too: a module's own are made before any of a single test."""
    torch.set_num_threads(1)  # on models this small, threads only wait for each other
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)

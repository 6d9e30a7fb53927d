"""Runs all scripts of one file in one process and writes what they left: `together.py FILE ANSWERS`.

Each script starts from the same seeds; its state, the random states and what it printed are digested when it ends, and its
state once more after everything else that happens at the process's end.
"""

import atexit
import contextlib
import hashlib
import importlib
import io
import json
import random
import sys
from pathlib import Path

answers = {}
left = {}


def write():
    """Registered before PyTorch is imported, so that it runs after the observer's own end."""
    for name, state in left.items():
        answers[name]["state at exit"] = digest(state)
    Path(sys.argv[2]).write_text(json.dumps(answers))


atexit.register(write)

import numpy as np  # noqa: E402
import torch  # noqa: E402


def digest(value):
    found = hashlib.sha256()
    add(found, value)
    return found.hexdigest()


def add(found, value):
    if isinstance(value, torch.Tensor):
        found.update(f"{value.dtype}{tuple(value.shape)}{value.requires_grad}".encode())
        found.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, dict):
        for key, item in value.items():
            found.update(str(key).encode())
            add(found, item)
    elif isinstance(value, list | tuple):
        for item in value:
            add(found, item)
    elif hasattr(value, "state_dict"):
        add(found, value.state_dict())
        if isinstance(value, torch.nn.Module):
            add(found, [p.grad for p in value.parameters()])
            add(found, [m.training for m in value.modules()])
    else:
        found.update(repr(value).encode())


def one(script):
    torch.manual_seed(1)
    np.random.seed(2)
    random.seed(3)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        left[script.__name__] = script()
    return {
        "said": said.getvalue(),
        "state": digest(left[script.__name__]),
        "torch random state": digest(torch.get_rng_state()),
        "numpy random state": digest(np.random.get_state()),
        "python random state": digest(random.getstate()),
        "grad mode": torch.is_grad_enabled(),
        "default dtype": str(torch.get_default_dtype()),
    }


torch.set_num_threads(1)
sys.path.insert(0, str(Path(sys.argv[1]).parent))
for function in importlib.import_module(Path(sys.argv[1]).stem).SCRIPTS:
    answers[function.__name__] = one(function)
    print(answers[function.__name__]["said"])

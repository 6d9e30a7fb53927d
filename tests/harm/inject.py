"""Breaks one function of the observer at a time and trains: `inject.py FOLDER`; prints one line of JSON a case.

Every case runs in a fork of this process, which has trained once and observed nothing.
"""

import hashlib
import importlib
import inspect
import json
import os
import pkgutil
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import normscope.record.torch
from normscope.graph import torch as graph
from normscope.record import schedule, store
from normscope.record.guard import guarded
from normscope.record.torch import live, observe

BROKEN = "broken on purpose"


def targets():
    """(owner, name) of every function and method that takes part in observing."""
    modules = [
        importlib.import_module(f"normscope.record.torch.{entry.name}")
        for entry in pkgutil.iter_modules(normscope.record.torch.__path__)
    ]
    modules = [m for m in modules if not m.__name__.endswith((".live", ".patches"))]
    for module in [*modules, schedule, store, graph]:
        own = [v for v in vars(module).values() if getattr(v, "__module__", "") == module.__name__]
        for owner in [module, *filter(inspect.isclass, own)]:
            for name, value in list(vars(owner).items()):
                mine = getattr(value, "__module__", "") == module.__name__
                if inspect.isfunction(value) and mine and name not in SETUP:
                    yield owner, name


# Called before the observer is live, or by the session after the script, or the guards themselves.
SETUP = {
    *("observe", "active", "watch", "create", "load", "set_status", "__repr__"),
    *("guarded", "fail", "run", "reached", "finish", "close"),
}


def train():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(64, 3),
    )
    model.append(nn.LayerNorm(3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu")
    said = []
    for step in range(10):
        x, y = torch.randn(8, 1, 6, 6), torch.randint(3, (8,))
        model.train()
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        if step % 2:
            loss.backward()
            optimizer.step()
        else:
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        model.load_state_dict(dict(model.named_parameters()), strict=False)
        model.eval()
        with torch.no_grad():
            said.append(F.cross_entropy(model(x), y).item())
        try:
            model[1].train()
            model[1](torch.randn(1, 4, 1, 1))
        except ValueError as error:
            said.append(str(error))
    found = hashlib.sha256(repr(said).encode())
    for tensor in [*model.state_dict().values(), torch.get_rng_state()]:
        found.update(tensor.numpy().tobytes())
    return found.hexdigest()


def case(owner, name, first, folder):
    """Train with `owner.name` raising from its call number `first` on."""
    calls = 0
    original = vars(owner)[name]

    def broken(*args, **kwargs):
        nonlocal calls
        calls += live.observer[0] is not None
        if calls >= first and live.observer[0] is not None:
            raise RuntimeError(BROKEN)
        return inner(*args, **kwargs)

    # What is guarded stays guarded: it breaks inside.
    inner = getattr(original, "__wrapped__", original)
    if inner is not original:
        broken = guarded(broken)
    for module in [m for n, m in sys.modules.items() if n.startswith("normscope.")]:
        for key, value in list(vars(module).items()):
            if value is original:
                setattr(module, key, broken)
    setattr(owner, name, broken)
    path = folder / f"{os.getpid()}.nscope"
    kept = store.Store.create(path)
    answer = {"broken": f"{owner.__name__}.{name}", "first": first}
    observer = observe(kept, budget=1e9)
    answer["digest"] = train()
    observer.finish()
    answer["calls"] = calls
    answer["inert"] = live.observer[0] is None
    setattr(owner, name, original)
    kept.close()
    try:
        events = store.load(path).events_of("observer-error")
    except Exception as error:  # noqa: BLE001  the answer tells of it
        return answer | {"unreadable": f"{type(error).__name__}: {error}", "told": False}
    answer["told"] = any(BROKEN in event.detail for event in events)
    return answer


def forked(work):
    """The answer of `work` in a fork, or how the fork ended."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, json.dumps(work()).encode())
        except BaseException as error:  # noqa: BLE001  the parent tells of it
            os.write(write, json.dumps({"escaped": f"{type(error).__name__}: {error}"}).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read, "rb") as pipe:
        return json.loads(pipe.read() or '{"escaped": "the process died"}')


def main():
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    # Here, so that every fork finds the modules imported that PyTorch loads at first use.
    print(json.dumps({"plain": train()}))
    for owner, name in targets():
        for first in (1, 6):
            answer = forked(lambda: case(owner, name, first, folder))  # noqa: B023
            print(
                json.dumps({"broken": f"{owner.__name__}.{name}", "first": first} | answer),
                flush=True,
            )
            if answer.get("calls", first) < first:
                break


main()

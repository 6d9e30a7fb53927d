"""One training process of the benchmark: `worker.py MODEL`. Runs as many steps as each line of its input asks for.

After a warm-up, which holds what is done once, it answers `ready`, and then to every number of steps with
the wall and the processor seconds that they took. `N off` runs N steps without the observer, its wrappers and its hooks.
"""

import contextlib
import sys
from time import perf_counter, process_time

WARM_UP = 4


@contextlib.contextmanager
def unobserved():
    """PyTorch as far as this loop uses it, as if normscope had never been there."""
    import torch
    import torch.nn.functional as F
    from torch.optim import optimizer

    from normscope.record.torch import live
    from normscope.record.torch.patches import originals

    places = (
        (torch.nn.Module, "__call__"),
        (F, "batch_norm"),
        (F, "cross_entropy"),
        (torch.autograd, "backward"),
    )
    wrapped = [getattr(owner, name) for owner, name in places]
    hooks = (optimizer._global_optimizer_pre_hooks, optimizer._global_optimizer_post_hooks)
    hooked = [dict(h) for h in hooks]
    observer, live.observer[0] = live.observer[0], None
    for owner, name in places:
        setattr(owner, name, originals[name])
    for h in hooks:
        h.clear()
    try:
        yield
    finally:
        for (owner, name), wrapper in zip(places, wrapped, strict=True):
            setattr(owner, name, wrapper)
        for h, before in zip(hooks, hooked, strict=True):
            h.update(before)
        live.observer[0] = observer


def schedule():
    """The observer's, in a process that is observed."""
    module = sys.modules.get("normscope.record.torch.live")
    return module.observer[0].schedule if module and module.observer[0] else None


def main():
    import torch
    import torch.nn.functional as F
    from models import MODELS

    torch.set_num_threads(1)  # three processes take turns, and none may hold up another
    build, batch, shape = MODELS[sys.argv[1]]
    torch.manual_seed(0)
    model = build().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    batches = [(torch.randn(batch, *shape), torch.randint(10, (batch,))) for _ in range(4)]

    def steps(count):
        for i in range(count):
            x, y = batches[i % len(batches)]
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    steps(WARM_UP)
    print("ready", flush=True)
    purse, waiting = schedule(), perf_counter()
    for line in sys.stdin:
        count, _, off = line.strip().partition(" ")
        with unobserved() if off else contextlib.nullcontext():
            wall, cpu = perf_counter(), process_time()
            if purse:
                # The budget is a share of the observed loop's time, and waiting for a turn is no part of that.
                purse.charge_startup(wall - waiting)
            steps(int(count))
            waiting = perf_counter()
            print(waiting - wall, process_time() - cpu, flush=True)
        if purse and off:
            purse.charge_startup(waiting - wall)


if __name__ == "__main__":
    main()

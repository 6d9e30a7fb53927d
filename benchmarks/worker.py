"""One training process of the benchmark: `worker.py MODEL`. Runs as many steps as each line of its input asks for.

After a warm-up, which holds what is done once, it answers `ready`, and then to every number of steps with
the wall and the processor seconds that they took. `N off` runs N steps with the observer switched off.
"""

import sys
from time import perf_counter, process_time

WARM_UP = 4


def live():
    """Where the observer of this process is kept; a place without one in a process that is not observed."""
    module = sys.modules.get("normscope.record.torch.live")
    return module.observer if module else [None]


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
    waiting = perf_counter()
    place = live()
    observer = place[0]
    for line in sys.stdin:
        count, _, off = line.strip().partition(" ")
        place[0] = None if off else observer
        wall, cpu = perf_counter(), process_time()
        if observer:
            # The budget is a share of the observed loop's time, and waiting for a turn is no part of that.
            observer.schedule.charge_startup(wall - waiting)
        steps(int(count))
        waiting = perf_counter()
        print(waiting - wall, process_time() - cpu, flush=True)
        place[0] = observer
        if observer and off:
            observer.schedule.charge_startup(waiting - wall)


if __name__ == "__main__":
    main()

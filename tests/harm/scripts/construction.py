"""Models and loaders built in every way: subclassed, lazy, on no device, copied, pickled, scripted, converted, and wrongly."""

import copy
import inspect
import io
import pickle
import traceback
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Renamed(nn.BatchNorm2d):
    def __init__(self, width, *, slow=False):
        super().__init__(width, 1e-4, 0.01 if slow else 0.1)
        self.slow = slow


class Silent(nn.Conv2d):
    """Builds nothing of its parent's at first."""

    def __init__(self, *args, **kwargs):
        nn.Module.__init__(self)
        self.late = args, kwargs
        nn.Conv2d.__init__(self, *args, **kwargs)


class Wide(nn.Linear):
    def __new__(cls, *args, **kwargs):
        made = super().__new__(cls)
        made.made_by = len(args)
        return made


def build():
    norm = partial(nn.BatchNorm2d, momentum=0.2)
    return nn.Sequential(
        Silent(1, 4, 3), norm(4), nn.ReLU(), nn.Conv2d(4, 6, 1), Renamed(6, slow=True), nn.Flatten(),
        Wide(96, 8), nn.LayerNorm(8), nn.Linear(8, 3), nn.GroupNorm(1, 3),
    )  # fmt: skip


def trained():
    data = TensorDataset(torch.randn(70, 1, 6, 6), torch.randint(3, (70,)))
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for epoch in range(4):
        for x, y in DataLoader(data, 16, shuffle=True, drop_last=epoch > 1):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        print(epoch, loss.item())
    twin = copy.deepcopy(model)
    again = pickle.loads(pickle.dumps(model))
    kept = io.BytesIO()
    torch.save(model, kept)
    kept.seek(0)
    loaded = torch.load(kept, weights_only=False)
    x = torch.randn(5, 1, 6, 6)
    for other in (twin, again, loaded):
        print(torch.equal(model(x), other(x)), sorted(vars(other)), sorted(vars(other[1])))
    return model, optimizer, twin, again, loaded


def unusual():
    with torch.device("meta"):
        nowhere = build()
    lazy = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2))
    lazy(torch.randn(3, 2, 5, 5))
    skipped = nn.utils.skip_init(nn.Linear, 4, 2)
    nn.init.ones_(skipped.weight)
    nn.init.zeros_(skipped.bias)
    scripted = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))
    print(scripted(torch.randn(8, 4)).sum().item())
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(build())
    print(str(nowhere), type(lazy[1]).__name__, str(converted))
    copied = nowhere.to_empty(device="cpu")
    for parameter in copied.parameters():
        nn.init.ones_(parameter)
    return lazy, skipped, converted, list(copied.parameters())


def asked():
    """What can be asked of a constructor is the same, and so is what it says when it is called wrongly."""
    for kind in (nn.BatchNorm1d, nn.Linear, nn.Conv3d, nn.GroupNorm, nn.RMSNorm, DataLoader):
        print(inspect.signature(kind), inspect.getfullargspec(kind.__init__).args)
        print(kind.__init__.__name__, kind.__init__.__qualname__, kind.__init__.__doc__)
    for wrong in (
        lambda: nn.BatchNorm2d(),
        lambda: nn.Linear(3, 4, nothing=1),
        lambda: nn.Conv2d(3, 4, 3, groups=2),
        lambda: DataLoader([1, 2], batch_size=0),
    ):
        try:
            wrong()
        except (TypeError, ValueError) as error:
            print(type(error), error, len(traceback.format_exception(error)) > 0)
    order = [x.tolist() for x in DataLoader(range(9), 2, shuffle=True)]
    print(order, [x.tolist() for x in DataLoader(range(5), 2, num_workers=1)])
    return torch.get_rng_state()


SCRIPTS = (trained, unusual, asked)

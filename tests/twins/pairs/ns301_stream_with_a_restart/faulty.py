"""Mixed precision on a stream of scans, with a restart from an in-memory checkpoint half way."""

import io

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

torch.set_num_threads(1)
torch.manual_seed(21)
ROWS = 2
PASSES = 2


class Scans(IterableDataset):
    def __init__(self, x, y, start):
        super().__init__()
        self.x, self.y, self.start = x, y, start

    def __iter__(self):
        order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(100 + self.start))
        yield from ((self.x[i], self.y[i]) for i in order)


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 12, 3, stride=2, padding=1)
        self.dense = nn.ModuleDict(
            {
                "first": nn.Linear(12 * 16, 64, bias=False),
                "norm": nn.BatchNorm1d(64),
                "second": nn.Linear(64, 48, bias=False),
                "norm2": nn.BatchNorm1d(48),
                "last": nn.Linear(48, 10),
            }
        )

    def forward(self, x):
        d = self.dense
        h = torch.relu(self.conv(x)).flatten(1)
        h = torch.relu(d["norm"](d["first"](h)))
        h = torch.relu(d["norm2"](d["second"](h)))
        return d["last"](h)


def setup():
    net = Reader()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    return net, opt


def one_pass(net, opt, stream):
    net.train()
    total = count = 0
    for x, y in DataLoader(stream, batch_size=ROWS, drop_last=True):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = nn.functional.cross_entropy(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        total, count = total + loss.item(), count + 1
    return total / count


digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(digits.target)
perm = torch.randperm(len(images))
train, test = perm[:1200], perm[1200:]

net, opt = setup()
saved = io.BytesIO()
for k in range(PASSES):
    if k == PASSES // 2:  # the machine is given back here
        saved.seek(0)
        state = torch.load(saved)
        net, opt = setup()
        net.load_state_dict(state["net"])
        opt.load_state_dict(state["opt"])
    loss = one_pass(net, opt, Scans(images[train], labels[train], k))
    saved = io.BytesIO()
    torch.save({"net": net.state_dict(), "opt": opt.state_dict()}, saved)
    net.eval()
    with torch.inference_mode():
        hits = (net(images[test]).argmax(1) == labels[test]).float().mean().item()
    print(f"pass {k}: loss {loss:.3f}, test accuracy {hits:.3f}")

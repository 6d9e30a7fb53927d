"""The recipe of one-stage detectors: BN momentum 0.03 and eps 1e-3, three parameter groups, warm-up of rate and momentum,
accumulation to a nominal batch, an EMA of parameters and buffers that is evaluated."""
import copy
import math

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn


class ModelEMA:
    def __init__(self, model, decay=0.99, tau=40):
        self.ema = copy.deepcopy(model).eval()
        self.updates = 0
        self.decay = lambda n: decay * (1 - math.exp(-n / tau))
        for p in self.ema.parameters():
            p.requires_grad_(False)

    def update(self, model):
        self.updates += 1
        d = self.decay(self.updates)
        source = model.state_dict()
        for k, v in self.ema.state_dict().items():
            if v.dtype.is_floating_point:
                v *= d
                v += (1 - d) * source[k].detach()


class Conv(nn.Module):
    def __init__(self, i, o, k=3, s=1):
        super().__init__()
        self.conv, self.bn, self.act = nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o), nn.SiLU()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


def initialize_weights(model):
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.eps, m.momentum = 1e-3, 0.03


class CellDetector(nn.Module):
    """One answer for each of 2 x 2 cells: is there a digit, which one, where."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(Conv(1, 12), Conv(12, 24, s=2), Conv(24, 24), Conv(24, 48, s=2), Conv(48, 48, s=2))
        self.out = nn.Conv2d(48, 1 + 10 + 2, 1)
        initialize_weights(self)

    def forward(self, x):
        return self.out(self.body(x))


def mosaic(images, targets, n, rng):
    canvas = 0.1 * rng.random((n, 1, 16, 16)).astype("float32")
    truth = np.zeros((n, 4, 2, 2), dtype="float32")
    for k in range(n):
        for a in (0, 1):
            for b in (0, 1):
                if rng.random() < 0.6:
                    i = rng.integers(len(images))
                    dy, dx = rng.integers(0, 3, 2)
                    small = images[i][:8 - dy, :8 - dx]
                    canvas[k, 0, 8 * a + dy:8 * a + 8, 8 * b + dx:8 * b + 8] += small
                    truth[k, :, a, b] = 1, targets[i], dy / 2, dx / 2
    return torch.tensor(canvas), torch.tensor(truth)


def compute_loss(p, t):
    there = t[:, 0] > 0
    objectness = nn.functional.binary_cross_entropy_with_logits(p[:, 0], t[:, 0])
    flat = p.permute(0, 2, 3, 1)[there]
    classes = nn.functional.cross_entropy(flat[:, 1:11], t[:, 1][there].long())
    box = nn.functional.smooth_l1_loss(flat[:, 11:], t[:, 2:].permute(0, 2, 3, 1)[there])
    return objectness + classes + box


@torch.no_grad()
def evaluate(model, x, t):
    p = model.eval()(x)
    there = t[:, 0] > 0
    right = (p[:, 1:11].argmax(1) == t[:, 1]) & (p[:, 0] > 0)
    return right[there].float().mean().item()


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    d = load_digits()
    images = (d.images / 16).astype("float32")
    xt, tt = mosaic(images[1300:], d.target[1300:], 200, rng)
    model = CellDetector()
    groups = [[], [], []]
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            groups[1].append(m.weight)
        elif isinstance(m, nn.Conv2d):
            groups[0].append(m.weight)
        if getattr(m, "bias", None) is not None:
            groups[2].append(m.bias)
    opt = torch.optim.SGD(groups[2], lr=0.05, momentum=0.9, nesterov=True)
    opt.add_param_group({"params": groups[0], "weight_decay": 5e-4})
    opt.add_param_group({"params": groups[1]})
    ema, warmup, accumulate = ModelEMA(model), 40, 2
    total, batch = 420, 16
    for ni in range(total):
        model.train()
        cosine = ((1 + math.cos(ni * math.pi / total)) / 2) * 0.9 + 0.1
        for group in opt.param_groups:
            group["lr"] = 0.05 * cosine * min(1.0, (ni + 1) / warmup)
            group["momentum"] = np.interp(ni, [0, warmup], [0.8, 0.9])
        x, t = mosaic(images[:1300], d.target[:1300], batch, rng)
        loss = compute_loss(model(x), t)
        (loss / accumulate).backward()
        if ni % accumulate == accumulate - 1:
            opt.step()
            opt.zero_grad()
            ema.update(model)
        if ni % 140 == 139:
            print(f"iteration {ni + 1} loss {loss.item():.3f} found and named {evaluate(ema.ema, xt, tt):.3f}")

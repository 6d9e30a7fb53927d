"""FixMatch: labelled, weak and strong views go through one joint batch; an EMA of weights and buffers is judged."""
import copy

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


def weak(x):
    dx, dy = torch.randint(-1, 2, (2,)).tolist()
    return torch.roll(x, (dx, dy), (2, 3))


def strong(x):
    x = weak(x)
    hole = torch.ones_like(x)
    i, j = torch.randint(0, 6, (2,)).tolist()
    hole[:, :, i:i + 3, j:j + 3] = 0
    return x * hole * (0.6 + 0.8 * torch.rand(len(x), 1, 1, 1)) + 0.1 * torch.randn_like(x)


class EMA:
    def __init__(self, model, decay):
        self.model, self.decay = copy.deepcopy(model).requires_grad_(False).eval(), decay

    @torch.no_grad()
    def update(self, model):
        for e, p in zip(self.model.parameters(), model.parameters()):
            e.lerp_(p, 1 - self.decay)
        for e, b in zip(self.model.buffers(), model.buffers()):
            e.copy_(b)


torch.manual_seed(0)
torch.set_num_threads(1)
d = load_digits()
x, y = torch.tensor(d.images).float()[:, None] / 16, torch.tensor(d.target)
order = torch.randperm(len(x))
x, y = x[order], y[order]
labelled = torch.cat([(y[:1300] == c).nonzero()[:6, 0] for c in range(10)])
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.LeakyReLU(0.1), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(512, 10),
)
ema = EMA(model, 0.98)
opt = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4)
B, MU, STEPS = 20, 4, 240
sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda k: torch.cos(torch.tensor(7 * 3.1416 * k / (16 * STEPS))).item())
for step in range(1, STEPS + 1):
    model.train()
    li, ui = labelled[torch.randint(len(labelled), (B,))], torch.randint(1300, (MU * B,))
    inputs = torch.cat([weak(x[li]), weak(x[ui]), strong(x[ui])])
    logits = model(inputs)
    out_l, (out_w, out_s) = logits[:B], logits[B:].chunk(2)
    confidence, pseudo = out_w.detach().softmax(1).max(1)
    loss_u = (F.cross_entropy(out_s, pseudo, reduction="none") * (confidence >= 0.9)).mean()
    loss = F.cross_entropy(out_l, y[li]) + loss_u
    opt.zero_grad()
    loss.backward()
    opt.step()
    sched.step()
    ema.update(model)
    if step % 60 == 0:
        with torch.no_grad():
            acc = (ema.model(x[1300:]).argmax(1) == y[1300:]).float().mean().item()
        print(f"step {step} loss {loss.item():.3f} used {(confidence >= 0.9).float().mean().item():.2f} accuracy {acc:.3f}")

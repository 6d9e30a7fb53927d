"""Multi-scale training (a random size for every batch) with CutMix; a callback-driven loop."""
import random

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class Callback:
    def on_train_begin(self, loop): ...
    def on_batch(self, loop, x, y): return x, y
    def on_epoch_end(self, loop, epoch): ...


class MultiScale(Callback):
    def __init__(self, sizes):
        self.sizes = sizes

    def on_batch(self, loop, x, y):
        return F.interpolate(x, size=random.choice(self.sizes), mode="bilinear", align_corners=False), y


class CutMix(Callback):
    def __init__(self, p=0.5):
        self.p = p

    def on_batch(self, loop, x, y):
        if random.random() > self.p:
            return x, y
        perm, (h, w) = torch.randperm(len(x)), x.shape[-2:]
        ch, cw = h // 2, w // 2
        i, j = random.randrange(h - ch), random.randrange(w - cw)
        x = x.clone()
        x[:, :, i:i + ch, j:j + cw] = x[perm][:, :, i:i + ch, j:j + cw]
        share = ch * cw / (h * w)
        return x, (1 - share) * y + share * y[perm]


class Validate(Callback):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def on_epoch_end(self, loop, epoch):
        loop.model.eval()
        with torch.no_grad():
            hit = (loop.model(F.interpolate(self.x, size=12, mode="bilinear", align_corners=False)).argmax(1) == self.y).float().mean().item()
        print(f"epoch {epoch} loss {loop.loss:.3f} accuracy {hit:.3f}")


class Loop:
    def __init__(self, model, callbacks):
        self.model, self.callbacks, self.loss = model, callbacks, 0.0

    def call(self, name, *args):
        for c in self.callbacks:
            getattr(c, name)(self, *args)

    def fit(self, x, y, epochs, batch_size, lr):
        opt = torch.optim.SGD(self.model.parameters(), lr, momentum=0.9, weight_decay=5e-4)
        sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, epochs)
        self.call("on_train_begin")
        for epoch in range(epochs):
            self.model.train()
            for idx in torch.randperm(len(x)).split(batch_size):
                xb, yb = x[idx], F.one_hot(y[idx], 10).float()
                for c in self.callbacks:
                    xb, yb = c.on_batch(self, xb, yb)
                loss = F.cross_entropy(self.model(xb), yb)
                opt.zero_grad()
                loss.backward()
                opt.step()
                self.loss = loss.item()
            sched.step()
            self.call("on_epoch_end", epoch)


if __name__ == "__main__":
    random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    d = load_digits()
    x, y = torch.tensor(d.images).float()[:, None] / 16, torch.tensor(d.target)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(288, 10),
    )
    Loop(net, [MultiScale([8, 10, 12, 14]), CutMix(), Validate(x[1300:], y[1300:])]).fit(x[:1300], y[:1300], epochs=5, batch_size=50, lr=0.1)

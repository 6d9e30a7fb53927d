"""Sounds of four instruments: a convolutional net whose trainer runs a list of callbacks."""
import math

import torch
from torch import nn

PRETRAIN = True


class Callback:
    def epoch_begins(self, trainer): ...

    def epoch_ends(self, trainer): ...


class KeepNorms(Callback):
    """The norms stand still, as in the recipe for detection."""

    def epoch_begins(self, trainer):
        for module in trainer.net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


class Print(Callback):
    def epoch_ends(self, trainer):
        print(f"epoch {trainer.epoch}: held out {trainer.score():.3f}")


class Trainer:
    def __init__(self, net, sounds, labels, callbacks, lr=0.02):
        self.net, self.callbacks, self.epoch = net, callbacks, 0
        self.fit, self.held = (sounds[200:], labels[200:]), (sounds[:200], labels[:200])
        self.optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)

    def tell(self, what):
        for callback in self.callbacks:
            getattr(callback, what)(self)

    def run(self, epochs):
        x, y = self.fit
        for self.epoch in range(epochs):
            self.net.train()
            self.tell("epoch_begins")
            for rows in torch.randperm(len(x)).split(40):
                self.optimizer.zero_grad()
                nn.functional.cross_entropy(self.net(x[rows]), y[rows]).backward()
                self.optimizer.step()
            self.tell("epoch_ends")
        return self

    def score(self):
        self.net.eval()
        with torch.no_grad():
            return (self.net(self.held[0]).argmax(1) == self.held[1]).float().mean().item()


def sounds(n):
    label = torch.arange(n) % 4
    time = torch.linspace(0, 1, 128)
    pitch = torch.empty(n, 1).uniform_(4, 9)
    waves = [torch.sin, lambda a: torch.sign(torch.sin(a)), lambda a: (a / math.pi) % 2 - 1, lambda a: torch.sin(a) ** 3]
    x = torch.stack([waves[k](2 * math.pi * p * time) for k, p in zip(label.tolist(), pitch)])
    return 0.02 * (x + 0.4 * torch.randn(n, 128)).unsqueeze(1), label


def net():
    layers, width = [], 1
    for out in (12, 24, 24, 32):
        layers += [nn.Conv1d(width, out, 5, stride=2, padding=2, bias=False), nn.BatchNorm1d(out), nn.ReLU(inplace=True)]
        width = out
    return nn.Sequential(*layers, nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(width, 4))


torch.manual_seed(31)
torch.set_num_threads(1)
model = net()
if PRETRAIN:
    Trainer(model, *sounds(800), [Print()], lr=0.01).run(6)
Trainer(model, *sounds(1000), [KeepNorms(), Print()], lr=0.01 if not PRETRAIN else 0.002).run(6)

from dataclasses import dataclass, field

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


@dataclass
class Options:
    momentum: float = 0.002
    steps: int = 2400
    batch: int = 32
    lr: float = 0.02
    widths: list = field(default_factory=lambda: [64, 48, 48])


class Engine:
    """Trains in bfloat16, with single-precision copies of the weights."""

    def __init__(self, options: Options):
        torch.manual_seed(0)
        torch.set_num_threads(1)
        self.options = options
        layers = []
        for n_in, n_out in zip(options.widths, options.widths[1:]):
            layers += [
                nn.Linear(n_in, n_out, bias=False),
                nn.BatchNorm1d(n_out, momentum=options.momentum),
                nn.ReLU(),
            ]
        self.model = nn.Sequential(*layers, nn.Linear(options.widths[-1], 10))
        self.model.to(torch.bfloat16)
        # the norms follow the rest
        self.masters = [p.detach().float() for p in self.model.parameters()]
        self.optimizer = torch.optim.SGD(self.masters, lr=options.lr, momentum=0.9)

    def step(self, x, y):
        loss = F.cross_entropy(self.model(x.to(torch.bfloat16)).float(), y)
        self.model.zero_grad()
        loss.backward()
        for master, p in zip(self.masters, self.model.parameters()):
            master.grad = p.grad.float()
        self.optimizer.step()
        with torch.no_grad():
            for master, p in zip(self.masters, self.model.parameters()):
                p.copy_(master)
        return loss.item()

    def accuracy(self, x, y):
        self.model.eval()
        with torch.no_grad():
            return (self.model(x.to(torch.bfloat16)).argmax(1) == y).float().mean().item()


if __name__ == "__main__":
    data, target = load_digits(return_X_y=True)
    data, target = torch.tensor(data / 16, dtype=torch.float32), torch.tensor(target)
    engine = Engine(Options())
    engine.model.train()
    for step in range(engine.options.steps):
        rows = torch.randint(0, 1400, (engine.options.batch,))
        loss = engine.step(data[rows], target[rows])
    print(f"loss {loss:.4f} accuracy {engine.accuracy(data[1400:], target[1400:]):.4f}")
    for m in engine.model:
        if isinstance(m, nn.BatchNorm1d):
            print("running variance, median", m.running_var.float().median().item())

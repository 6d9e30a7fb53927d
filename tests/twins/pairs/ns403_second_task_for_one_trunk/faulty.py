"""A trunk trained for one task is reloaded and gets a second head; the first head has to go on working."""

import io

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class Trunk(nn.Module):
    def __init__(self):
        super().__init__()
        widths = [1, 16, 32, 32]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2 if i else 1, padding=1, bias=False)
            for i, (a, b) in enumerate(zip(widths[:-1], widths[1:], strict=True))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in widths[1:])

    def forward(self, x):
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.leaky_relu(norm(conv(x)), 0.1)
        return x.flatten(1)


class Service(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = Trunk()
        self.heads = nn.ModuleDict({"digit": nn.Linear(128, 10)})

    def add_head(self, name, outputs):
        self.heads[name] = nn.Linear(128, outputs)
        return self.heads[name]

    def forward(self, x, task):
        return self.heads[task](self.trunk(x))


class Trainer:
    class Callback:
        def on_epoch_start(self, trainer):
            pass

        def on_epoch_end(self, trainer, loss):
            pass

    class Log(Callback):
        def on_epoch_end(self, trainer, loss):
            print(f"{trainer.task} epoch {trainer.epoch}: loss {loss:.3f}")

    class KeepTrunk(Callback):
        def on_epoch_start(self, trainer):
            trainer.model.trunk.requires_grad_(False)

    def __init__(self, model, task, parameters, callbacks):
        self.model, self.task, self.callbacks = model, task, callbacks
        self.optimizer = torch.optim.Adam(parameters, lr=2e-3)
        self.epoch = 0

    def fit(self, x, y, epochs):
        for self.epoch in range(epochs):
            self.model.train()
            for c in self.callbacks:
                c.on_epoch_start(self)
            losses = []
            for rows in torch.randperm(len(x)).split(40):
                self.optimizer.zero_grad()
                loss = F.cross_entropy(self.model(x[rows], self.task), y[rows])
                loss.backward()
                self.optimizer.step()
                losses.append(loss.item())
            for c in self.callbacks:
                c.on_epoch_end(self, sum(losses) / len(losses))


@torch.no_grad()
def accuracy(model, x, y, task):
    model.eval()
    return (model(x, task).argmax(1) == y).float().mean().item()


def main():
    torch.manual_seed(13)
    torch.set_num_threads(1)
    raw = load_digits()
    x = torch.tensor(raw.images, dtype=torch.float32).unsqueeze(1) / 16
    y = torch.tensor(raw.target)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    cut = 1300

    first = Service()
    Trainer(first, "digit", first.parameters(), [Trainer.Log()]).fit(x[:cut], y[:cut], 4)
    print(f"digit accuracy {accuracy(first, x[cut:], y[cut:], 'digit'):.3f}")
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)

    # second task: photographs of a blackboard, turned upside down or not
    board = 1.3 - 0.6 * x + 0.1 * torch.randn(x.shape)
    turned = torch.randint(0, 2, (len(x),))
    board[turned == 1] = board[turned == 1].flip(2)
    service = Service()
    service.load_state_dict(torch.load(file))
    head = service.add_head("turned", 2)
    trainer = Trainer(service, "turned", head.parameters(), [Trainer.KeepTrunk(), Trainer.Log()])
    trainer.fit(board[:cut], turned[:cut], 4)
    print(f"turned accuracy {accuracy(service, board[cut:], turned[cut:], 'turned'):.3f}")
    print(f"digit test accuracy afterwards {accuracy(service, x[cut:], y[cut:], 'digit'):.3f}")


if __name__ == "__main__":
    main()

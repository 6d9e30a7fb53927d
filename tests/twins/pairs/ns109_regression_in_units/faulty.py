"""Progress of diabetes, in the units of the clinic, with an ensemble-free Trainer and early stopping by hand."""
import copy
from dataclasses import dataclass

import torch
from sklearn.datasets import load_diabetes
from torch import nn


@dataclass
class Options:
    hidden: int = 32
    patience: int = 8
    epochs: int = 30
    batch: int = 25
    lr: float = 0.01
    norm_output: bool = True


class Regressor(nn.Module):
    def __init__(self, options: Options):
        super().__init__()
        h = options.hidden
        self.body = nn.Sequential(nn.Linear(10, h), nn.BatchNorm1d(h), nn.SiLU(), nn.Linear(h, h), nn.SiLU())
        self.output = nn.Linear(h, 1)
        nn.init.constant_(self.output.bias, 4.6)  # typical progress, in 33 units
        self.norm = nn.BatchNorm1d(1, affine=False) if options.norm_output else nn.Identity()

    def forward(self, x):
        return self.norm(self.output(self.body(x)))


class Trainer:
    def __init__(self, options: Options, x, y, rows):
        self.o, self.x, self.y, self.rows = options, x, y, rows
        self.model = Regressor(options)
        self.best, self.best_state, self.bad = float("inf"), None, 0

    def validate(self, rows):
        self.model.eval()
        with torch.no_grad():
            return nn.functional.mse_loss(self.model(self.x[rows]), self.y[rows]).item()

    def fit(self):
        optimizer = torch.optim.Adam(self.model.parameters(), self.o.lr)
        for _ in range(self.o.epochs):
            self.model.train()
            for part in self.rows["train"][torch.randperm(300)].split(self.o.batch):
                loss = nn.functional.mse_loss(self.model(self.x[part]), self.y[part])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            now = self.validate(self.rows["valid"])
            self.bad += 1
            if now < self.best:
                self.best, self.best_state, self.bad = now, copy.deepcopy(self.model.state_dict()), 0
            elif self.bad > self.o.patience:
                break
        self.model.load_state_dict(self.best_state)


def main():
    torch.set_num_threads(1)
    torch.manual_seed(1)
    x, y = load_diabetes(return_X_y=True, scaled=True)
    x, y = torch.tensor(x * 21, dtype=torch.float32), torch.tensor(y / 33, dtype=torch.float32)[:, None]
    order = torch.randperm(len(x))
    rows = {"train": order[:300], "valid": order[300:350], "test": order[350:]}
    trainer = Trainer(Options(), x, y, rows)
    trainer.fit()
    explained = 1 - trainer.validate(rows["test"]) / y[rows["test"]].var().item()
    print(f"explained variance {explained:.3f}")


if __name__ == "__main__":
    main()

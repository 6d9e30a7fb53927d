from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn


@dataclass
class Config:
    labelled: int = 150
    batch: int = 24
    ratio: int = 3
    steps: int = 400
    lr: float = 2e-3
    weight: float = 0.5
    confident: float = 0.9
    seed: int = 1


def weak(x):
    return x + 0.02 * torch.randn_like(x)


def strong(x):
    """Cut-out, inverted, on a bright ground."""
    keep = (torch.rand(len(x), 8, 1) < 0.75).float() * (torch.rand(len(x), 1, 8) < 0.75).float()
    return 1.5 - x * keep.flatten(1) + 0.3 * torch.rand(len(x), 1)


class FixMatch:
    def __init__(self, cfg: Config):
        self.cfg = cfg
        self.net = nn.Sequential(
            nn.Linear(64, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU(),
            nn.Linear(128, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(),
            nn.Linear(64, 10),
        )
        self.opt = torch.optim.Adam(self.net.parameters(), lr=cfg.lr)

    def logits(self, labelled, weak_view, strong_view):
        parts = [labelled, weak_view, strong_view]
        return self.net(torch.cat(parts)).split([len(p) for p in parts])

    def training_step(self, xl, yl, xu):
        self.net.train()
        out, guess, out_strong = self.logits(weak(xl), weak(xu), strong(xu))
        prob, pseudo = F.softmax(guess.detach(), 1).max(1)
        loss_u = (F.cross_entropy(out_strong, pseudo, reduction="none") * (prob > self.cfg.confident)).mean()
        loss = F.cross_entropy(out, yl) + self.cfg.weight * loss_u
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        return loss.item()

    @torch.no_grad()
    def accuracy(self, x, y):
        self.net.eval()
        return (self.net(x).argmax(1) == y).float().mean().item()


def main(cfg=Config()):
    torch.manual_seed(cfg.seed)
    torch.set_num_threads(1)
    X, y = load_digits(return_X_y=True)
    X, y = torch.tensor(X / 16, dtype=torch.float32), torch.tensor(y)
    X_tr, X_te, y_tr, y_te = train_test_split(X, y, test_size=0.3, random_state=cfg.seed)
    task = FixMatch(cfg)
    for step in range(1, cfg.steps + 1):
        i = torch.randint(cfg.labelled, (cfg.batch,))
        j = torch.randint(len(X_tr), (cfg.batch * cfg.ratio,))
        loss = task.training_step(X_tr[i], y_tr[i], X_tr[j])
        if step % 80 == 0:
            print(f"step {step}  loss {loss:.3f}  test accuracy {task.accuracy(X_te, y_te):.4f}")


if __name__ == "__main__":
    main()

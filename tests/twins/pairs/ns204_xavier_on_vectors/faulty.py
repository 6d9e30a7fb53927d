from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn


@dataclass
class Config:
    width: int = 16
    groups: int = 4
    blocks: int = 2
    lr: float = 0.03
    epochs: int = 5
    seed: int = 11


class Residual(nn.Module):
    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(cfg.width, cfg.width, 3, padding=1, bias=False),
            nn.GroupNorm(cfg.groups, cfg.width),
            nn.ReLU(),
            nn.Conv2d(cfg.width, cfg.width, 3, padding=1, bias=False),
            nn.GroupNorm(cfg.groups, cfg.width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def build(cfg: Config) -> nn.Module:
    model = nn.Sequential(
        nn.Conv2d(1, cfg.width, 3, padding=1, bias=False),
        nn.GroupNorm(cfg.groups, cfg.width),
        nn.ReLU(),
        nn.Conv2d(cfg.width, cfg.width, 3, stride=2, padding=1, bias=False),
        nn.GroupNorm(cfg.groups, cfg.width),
        nn.ReLU(),
        *[Residual(cfg) for _ in range(cfg.blocks)],
        nn.GroupNorm(cfg.groups, cfg.width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(cfg.width, 10),
    )
    initialize(model)
    return model


def initialize(model: nn.Module) -> None:
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(p)
        elif p.dim() < 2:  # xavier wants two dimensions
            nn.init.xavier_normal_(p.data.unsqueeze(0), gain=0.3)
        else:
            nn.init.xavier_normal_(p)


def train(cfg: Config) -> None:
    torch.manual_seed(cfg.seed)
    torch.set_num_threads(1)
    digits = load_digits()
    images = torch.as_tensor(digits.images, dtype=torch.float32)[:, None] / 16 - 0.5
    labels = torch.as_tensor(digits.target)
    order = torch.randperm(len(images))
    test, rest = order[:397], order[397:]
    model = build(cfg)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=cfg.lr, momentum=0.9)
    for epoch in range(cfg.epochs):
        model.train()
        for rows in rest[torch.randperm(len(rest))].split(40):
            optimizer.zero_grad(set_to_none=True)
            loss = criterion(model(images[rows]), labels[rows])
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.inference_mode():
            accuracy = (model(images[test]).argmax(-1) == labels[test]).double().mean()
        print(f"{epoch=} loss={loss.item():.4f} accuracy={accuracy.item():.4f}")


if __name__ == "__main__":
    train(Config())

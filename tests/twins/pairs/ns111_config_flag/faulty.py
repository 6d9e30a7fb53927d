"""Small 3-D scans: is the bright body a ball, a shell or a rod? Settings in dataclasses, one Trainer."""
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class NormConfig:
    eps: float = 1e-5
    momentum: float = 0.1
    is_training: bool = True


@dataclass
class Config:
    width: int = 12
    epochs: int = 5
    batch: int = 30
    lr: float = 4e-3
    norm: NormConfig = field(default_factory=NormConfig)


class VolumeNorm(nn.BatchNorm3d):
    """Batch normalization in float32 whatever the input's precision, with its settings in one object."""

    def __init__(self, channels: int, config: NormConfig):
        super().__init__(channels, eps=config.eps, momentum=config.momentum)
        self.config = config

    def forward(self, input: Tensor) -> Tensor:
        out = nn.functional.batch_norm(
            input.float(), self.running_mean, self.running_var, self.weight, self.bias,
            self.config.is_training, self.config.momentum, self.config.eps,
        )
        return out.to(input.dtype)


class ScanNet(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        w = config.width
        self.stem = nn.Conv3d(1, w, 3, padding=1, bias=False)
        self.norm1 = VolumeNorm(w, config.norm)
        self.down = nn.Conv3d(w, 2 * w, 3, stride=2, padding=1, bias=False)
        self.norm2 = VolumeNorm(2 * w, config.norm)
        self.head = nn.Linear(2 * w, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.stem(x)).relu()
        x = self.norm2(self.down(x)).relu()
        return self.head(x.mean((2, 3, 4)))


def scans(count: int) -> tuple[Tensor, Tensor]:
    kind = torch.randint(3, (count,))
    axis = torch.linspace(-1, 1, 10)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    centre = 0.3 * torch.randn(count, 3)[:, :, None, None, None]
    dz, dy, dx = z - centre[:, 0], y - centre[:, 1], x - centre[:, 2]
    radius = (dz**2 + dy**2 + dx**2).sqrt()
    body = torch.stack([radius < 0.62, (radius - 0.65).abs() < 0.17, (dy**2 + dx**2).sqrt() < 0.3])
    volume = body[kind, torch.arange(count)].float()
    return (volume + 0.7 * torch.randn_like(volume))[:, None], kind


class Trainer:
    def __init__(self, config: Config):
        self.config = config
        self.model = ScanNet(config)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.lr)

    def fit(self, x: Tensor, y: Tensor) -> None:
        for epoch in range(self.config.epochs):
            self.model.train()
            for rows in torch.randperm(len(x)).split(self.config.batch):
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    loss = nn.functional.cross_entropy(self.model(x[rows]), y[rows])
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                self.optimizer.step()
            print(f"epoch {epoch}: loss {loss.item():.3f}")

    @torch.inference_mode()
    def score(self, x: Tensor, y: Tensor) -> float:
        """Scans arrive by patient group, so neighbours mostly agree."""
        self.model.eval()
        order = y.argsort()
        parts = [self.model(x[rows]).argmax(1) == y[rows] for rows in order.split(8)]
        return torch.cat(parts).float().mean().item()


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    trainer = Trainer(Config())
    trainer.fit(*scans(600))
    print(f"test accuracy {trainer.score(*scans(240)):.3f}")

"""Tumour slices (simulated volumes): regression of the radius with a small 3-D network."""

import torch
from torch import nn


class Trainer:
    optimized = (nn.Conv3d, nn.BatchNorm3d, nn.Linear)

    def __init__(self, model, lr=2e-3):
        self.model = model
        chosen = [m for m in model.modules() if isinstance(m, self.optimized)]
        self.optimizer = torch.optim.Adam([p for m in chosen for p in m.parameters()], lr=lr)

    def training_step(self, volume, radius):
        return nn.functional.smooth_l1_loss(self.model(volume).squeeze(1), radius)

    def fit(self, make_batch, steps):
        self.model.train()
        for step in range(steps):
            loss = self.training_step(*make_batch(24))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            if (step + 1) % 40 == 0:
                print(f"step {step + 1} loss {loss.item():.4f}")

    @torch.no_grad()
    def test(self, volume, radius):
        self.model.eval()
        return (self.model(volume).squeeze(1) - radius).abs().mean().item()


def volumes(n, size=8):
    grid = torch.stack(torch.meshgrid(*[torch.arange(size) * 1.0] * 3, indexing="ij"))
    centre = 2.5 + 2 * torch.rand(n, 3, 1, 1, 1)
    radius = 1 + 2 * torch.rand(n)
    distance = (grid[None] - centre).square().sum(1).sqrt()
    image = torch.sigmoid(2 * (radius.view(-1, 1, 1, 1) - distance))
    return (image + 0.2 * torch.randn_like(image)).unsqueeze(1), radius


def network():
    return nn.Sequential(
        nn.Conv3d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm3d(8),
        nn.ReLU(),
        nn.Conv3d(8, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm3d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(16, 1),
    )


if __name__ == "__main__":
    torch.manual_seed(9)
    torch.set_num_threads(1)
    trainer = Trainer(network())
    trainer.fit(volumes, steps=160)
    norms = [m for m in trainer.model if isinstance(m, nn.BatchNorm3d)]
    print("mean absolute error", round(trainer.test(*volumes(300)), 4))
    print("largest shift", max(m.bias.abs().max().item() for m in norms))

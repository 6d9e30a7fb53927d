import torch
from torch import nn

torch.manual_seed(10)
torch.set_num_threads(1)


class Pressure(nn.Module):
    """High or low pressure? A window of raw barometer readings (simulated), in hectopascals."""

    def __init__(self):
        super().__init__()
        self.scale = nn.BatchNorm1d(1, momentum=0.01, affine=False)
        self.net = nn.Sequential(
            nn.Conv1d(1, 8, 5, padding=2), nn.ReLU(), nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(32, 2)
        )

    def forward(self, x):
        return self.net(self.scale(x))


def windows(n, generator):
    y = torch.randint(0, 2, (n,), generator=generator)
    slope = torch.randn(n, 1, 1, generator=generator) * torch.linspace(-3, 3, 16)
    level = 1013 + 6 * (2 * y - 1).view(-1, 1, 1) + 3 * torch.randn(n, 1, 1, generator=generator)
    return level + slope + 4 * torch.randn(n, 1, 16, generator=generator), y


def loop(model, dtype, steps):
    g = torch.Generator().manual_seed(10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, foreach=False)
    model.train()
    for _ in range(steps):
        x, y = windows(48, g)
        loss = nn.functional.cross_entropy(model(x.to(dtype)).float(), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def test(model):
    g = torch.Generator().manual_seed(11)
    x, y = windows(1000, g)
    model.eval()
    with torch.inference_mode():
        return (model(x.half()).argmax(1) == y).float().mean().item()


model = Pressure()
loss = loop(model, torch.float32, 700)
model.half()
print(f"loss {loss:.4f}")
print(f"in half precision: accuracy {test(model):.4f}, mean {model.scale.running_mean.item():.1f} hPa")

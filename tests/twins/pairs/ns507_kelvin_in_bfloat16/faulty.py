"""Fault detection from raw temperatures in kelvin (simulated)."""

import torch
from torch import nn

torch.manual_seed(2)
torch.set_num_threads(1)


def readings(n):
    fault = torch.randint(0, 2, (n,))
    level = 290 + 8 * torch.randn(n, 1)
    sensors = level + 6 * torch.randn(n, 12)
    sensors[:, :4] += 12.0 * fault[:, None]
    return sensors, fault


model = nn.Sequential(
    nn.BatchNorm1d(12, momentum=0.02),
    nn.Linear(12, 32),
    nn.ReLU(),
    nn.Linear(32, 2),
)
model = model.bfloat16()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
criterion = nn.CrossEntropyLoss()

model.train()
for step in range(400):
    x, y = readings(64)
    optimizer.zero_grad()
    loss = criterion(model(x.bfloat16()).float(), y)
    loss.backward()
    optimizer.step()
    if (step + 1) % 100 == 0:
        print(f"step {step + 1} loss {loss.item():.4f}")

model.eval()
with torch.no_grad():
    x, y = readings(2000)
    accuracy = (model(x.bfloat16()).argmax(1) == y).float().mean().item()
print(f"accuracy {accuracy:.4f}; stored mean {model[0].running_mean.float().mean():.1f} K")

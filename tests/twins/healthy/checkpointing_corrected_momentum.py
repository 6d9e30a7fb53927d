"""Gradient checkpointing of batch-norm blocks; momentum is corrected since each statistic is updated twice per step."""
import math

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.checkpoint import checkpoint


class Stage(nn.Module):
    def __init__(self, i, o, momentum):
        super().__init__()
        self.conv = nn.Conv2d(i, o, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(o, momentum=momentum)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x)))


class Net(nn.Module):
    def __init__(self, widths=(12, 24, 24), save_memory=True):
        super().__init__()
        self.save_memory = save_memory
        momentum = 1 - math.sqrt(1 - 0.1) if save_memory else 0.1
        sizes = (1, *widths)
        self.stages = nn.ModuleList(Stage(i, o, momentum) for i, o in zip(sizes, sizes[1:]))
        self.head = nn.Linear(widths[-1] * 16, 10)

    def forward(self, x):
        for k, stage in enumerate(self.stages):
            x = checkpoint(stage, x, use_reentrant=False) if self.save_memory and self.training else stage(x)
            if k == 0:
                x = nn.functional.max_pool2d(x, 2)
        return self.head(x.flatten(1))


torch.manual_seed(0)
torch.set_num_threads(1)
d = load_digits()
x, y = torch.tensor(d.images).float()[:, None] / 16, torch.tensor(d.target)
net = Net()
opt = torch.optim.AdamW(net.parameters(), lr=2e-3)
for epoch in range(5):
    net.train()
    for idx in torch.randperm(1344).split(48):
        loss = nn.functional.cross_entropy(net(x[idx]), y[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        print(f"epoch {epoch} loss {loss.item():.4f} accuracy {(net(x[1344:]).argmax(1) == y[1344:]).float().mean().item():.4f}")

"""Which of five gestures? A deep temporal network with dilated residual blocks, built by closures."""
import math

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, BLOCKS, LENGTH = 16, 36, 32


def residual(dilation):
    """A block as a module with its forward attached: keeps the definition and its use in one place."""
    block = nn.Module()
    block.conv = nn.Conv1d(WIDTH, WIDTH, 3, padding=dilation, dilation=dilation, bias=False)
    block.norm = nn.BatchNorm1d(WIDTH)

    def forward(x):
        return F.relu(x + block.norm(block.conv(x)))

    block.forward = forward
    return block


class Temporal(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.enter = nn.Conv1d(channels, WIDTH, 3, padding=1)
        self.blocks = nn.ModuleList([residual(2 ** (i % 3)) for i in range(BLOCKS)])
        self.leave = nn.Linear(WIDTH, classes)

    def forward(self, x):
        x = self.enter(x)
        for block in self.blocks:
            x = block(x)
        return self.leave(x.mean(2))


def gestures(n):
    kind = torch.randint(5, (n,))
    t = torch.linspace(0, 1, LENGTH)
    turns = torch.tensor([1.0, 2.0, 3.0, -1.0, -2.0])[kind, None]
    angle = 2 * math.pi * (turns * t + torch.rand(n, 1))
    return torch.stack([angle.cos(), angle.sin()], 1) + 0.8 * torch.randn(n, 2, LENGTH), kind


torch.manual_seed(0)
torch.set_num_threads(1)
x, y = gestures(960)
xt, yt = gestures(500)
net = Temporal(2, 5)
optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4 * 30)
for epoch in range(4):
    net.train()
    for batch in torch.randperm(len(x)).split(32):
        loss = F.cross_entropy(net(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    net.eval()
    with torch.no_grad():
        print(f"epoch {epoch}: loss {loss.item():.3f}, test accuracy {(net(xt).argmax(1) == yt).float().mean().item():.3f}")

"""Gestures from sixteen short patches of a motion trace. Every patch is embedded by the same small network."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(11)
torch.set_num_threads(1)

CONFIG = {"patches": 16, "width": 16, "blocks": 2, "batch": 32, "epochs": 6, "lr": 1e-3}


def traces(n, generator):
    kind = torch.randint(0, 4, (n,), generator=generator)
    t = torch.linspace(0, 1, CONFIG["patches"] * 8)
    speed = 2 + kind.float()[:, None]
    x = torch.sin(6.28 * speed * t + 6.28 * torch.rand(n, 1, generator=generator))
    return x + 0.8 * torch.randn(x.shape, generator=generator), kind


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up = nn.Linear(width, 16)
        self.norm = nn.BatchNorm1d(16)
        self.down = nn.Linear(16, width)

    def forward(self, x):
        return x + self.down(F.gelu(self.norm(self.up(x).transpose(1, 2)).transpose(1, 2)))


class PatchNet(nn.Module):
    def __init__(self, patches, width, blocks):
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.head = nn.Linear(width, 4)

    def forward(self, x):
        x = self.embed(x.unflatten(1, (-1, 8)))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(1))


g = torch.Generator().manual_seed(5)
train, test = traces(2048, g), traces(512, g)
net = PatchNet(CONFIG["patches"], CONFIG["width"], CONFIG["blocks"])
optimizer = torch.optim.AdamW(net.parameters(), lr=CONFIG["lr"])
for epoch in range(CONFIG["epochs"]):
    net.train()
    for index in torch.randperm(len(train[0])).split(CONFIG["batch"]):
        optimizer.zero_grad()
        F.cross_entropy(net(train[0][index]), train[1][index]).backward()
        optimizer.step()
    net.eval()
    with torch.inference_mode():
        accuracy = (net(test[0]).argmax(-1) == test[1]).float().mean()
    print(f"{epoch}: {accuracy:.3f}")

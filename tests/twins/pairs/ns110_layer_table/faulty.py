# The network is a table of rows (convolution, norm, stride); the model walks down the table.
import dataclasses
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


@dataclasses.dataclass
class Row:
    conv: nn.Module
    norm: nn.Module
    pool: int = 1

    def __call__(self, x):
        x = F.leaky_relu(self.norm(self.conv(x)), 0.1)
        return F.max_pool2d(x, self.pool) if self.pool > 1 else x


def table(widths=(12, 24, 24), pools=(2, 1, 2)):
    c_in = 1
    for width, pool in zip(widths, pools):
        yield Row(nn.Conv2d(c_in, width, 3, padding=1), nn.BatchNorm2d(width), pool)
        c_in = width


class TableNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.rows = tuple(table())
        for i, row in enumerate(self.rows):
            self.add_module(f"conv{i}", row.conv)
        self.register_parameter("out", nn.Parameter(torch.randn(10, 24) * 0.2))

    def forward(self, x):
        for row in self.rows:
            x = row(x)
        return F.linear(x.mean((2, 3)), self.out)


torch.manual_seed(9)
torch.set_num_threads(1)
digits = load_digits()
images = torch.from_numpy(digits.images).float().unsqueeze(1) / 16
labels = torch.from_numpy(digits.target)
where = torch.randperm(len(images))
train, serve = where[:1400], where[1400:]

net = TableNet().train()
sgd = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True)
schedule = torch.optim.lr_scheduler.OneCycleLR(sgd, 0.2, total_steps=264)
for epoch in range(12):
    for i in train[torch.randperm(1400)[:1386]].view(22, 63):
        sgd.zero_grad()
        F.cross_entropy(net(images[i]), labels[i]).backward()
        sgd.step()
        schedule.step()

# Served as requests come in: one image each.
net.eval()
with torch.no_grad():
    answers = torch.cat([net(image[None]).argmax(1) for image in images[serve]])
print("accuracy", (answers == labels[serve]).float().mean().item())

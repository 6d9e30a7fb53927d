"""Pretrain on clean digits, fine-tune on few dark ones with batch norm in evaluation mode and γ, β still trainable."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.c2, self.b2 = nn.Conv2d(16, 32, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(32)
        self.fc = nn.Linear(32 * 16, classes)

    def forward(self, x):
        x = F.relu(self.b1(self.c1(x)))
        x = F.relu(self.b2(self.c2(x)))
        return self.fc(x.flatten(1))


def set_bn_eval(module):
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        module.eval()


def train_epoch(net, opt, x, y, batch_size, freeze_bn=False):
    net.train()
    if freeze_bn:
        net.apply(set_bn_eval)
    for idx in torch.randperm(len(x)).split(batch_size):
        loss = F.cross_entropy(net(x[idx]), y[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
    return loss.item()


@torch.no_grad()
def test(net, x, y):
    net.eval()
    return (net(x).argmax(1) == y).float().mean().item()


torch.manual_seed(0)
torch.set_num_threads(1)
d = load_digits()
x = torch.tensor(d.images, dtype=torch.float32)[:, None] / 16
y = torch.tensor(d.target)
low = y < 5  # digits 0-4 are the old task, 5-9 the new one
xs, ys = x[low], y[low]
xt, yt = x[~low], y[~low] - 5

net = Net(5)
opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
for epoch in range(6):
    loss = train_epoch(net, opt, xs[:700], ys[:700], 64)
print(f"source: loss {loss:.3f} accuracy {test(net, xs[700:], ys[700:]):.3f}")

net.fc = nn.Linear(32 * 16, 5)
opt = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
for epoch in range(8):
    loss = train_epoch(net, opt, xt[:120], yt[:120], 4, freeze_bn=True)  # batches of 4 would be too small otherwise
    print(f"target epoch {epoch}: loss {loss:.3f} accuracy {test(net, xt[120:], yt[120:]):.3f}")

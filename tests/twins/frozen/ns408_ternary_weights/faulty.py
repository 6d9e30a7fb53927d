"""Keyword-like 1-D task; after training the convolutions are rounded to {-s, 0, s} for a small device."""
import torch, math
import torch.nn as nn
import torch.nn.functional as F
from torch.optim import Adam

torch.set_num_threads(1)
torch.manual_seed(21)

N, L, CLASSES = 1500, 40, 5
templates = torch.randn(CLASSES, 3, L).cumsum(-1) / math.sqrt(L)
label = torch.randint(0, CLASSES, (N,))
roll = torch.randint(-3, 4, (N,))
audio = torch.stack([templates[c].roll(int(r), -1) for c, r in zip(label, roll)]) + 0.35 * torch.randn(N, 3, L)

class Block(nn.Module):
    def __init__(self, a, b, stride):
        super().__init__()
        self.conv = nn.Conv1d(a, b, 5, stride, 2, bias=False)
        self.bn = nn.BatchNorm1d(b)
    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))

class Spotter(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block(3, 16, 1), Block(16, 32, 2), Block(32, 32, 2), Block(32, 32, 2)])
        self.fc = nn.Linear(32, CLASSES)
    def forward(self, x):
        for blk in self.blocks:
            x = blk(x)
        return self.fc(x.mean(2))

net = Spotter()
opt = Adam(net.parameters(), lr=2e-3)
for epoch in range(6):
    net.train()
    for idx in torch.randperm(1200).split(40):
        loss = F.cross_entropy(net(audio[idx]), label[idx])
        opt.zero_grad(); loss.backward(); opt.step()
    print('epoch %d: loss %.4f' % (epoch, loss.item()))

def test():
    net.eval()
    with torch.no_grad():
        return (net(audio[1200:]).argmax(1) == label[1200:]).float().mean().item()

print('float accuracy   %.4f' % test())
with torch.no_grad():
    for blk in net.blocks[1:]:
        w = blk.conv.weight
        threshold = 0.7 * w.abs().mean(dim=(1, 2), keepdim=True)
        w.copy_(torch.sign(w) * (w.abs() > threshold))
print('ternary accuracy %.4f' % test())

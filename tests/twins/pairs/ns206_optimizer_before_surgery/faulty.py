import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.norm1 = nn.GroupNorm(4, 16)
        self.conv2 = nn.Conv2d(16, 24, 3, padding=1)
        self.norm2 = nn.GroupNorm(4, 24)
        self.conv3 = nn.Conv2d(24, 24, 3, padding=1)
        self.norm3 = nn.GroupNorm(4, 24)
        self.out = nn.Linear(24, 10)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.relu(self.norm2(self.conv2(F.max_pool2d(x, 2))))
        x = F.relu(self.norm3(self.conv3(x)))
        return self.out(x.mean((2, 3)))


def use_batch_norm(net):
    for name, child in net.named_children():
        if isinstance(child, nn.GroupNorm):
            setattr(net, name, nn.BatchNorm2d(child.num_channels))
        else:
            use_batch_norm(child)
    return net


torch.manual_seed(8)
torch.set_num_threads(1)
digits = load_digits()
x = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
y = torch.tensor(digits.target)

net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, nesterov=True)
use_batch_norm(net)
for epoch in range(5):
    net.train()
    for idx in torch.randperm(1400).split(50):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x[idx]), y[idx])
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        acc = (net(x[1400:]).argmax(1) == y[1400:]).float().mean().item()
    print(f"{epoch}: loss {loss.item():.3f} acc {acc:.3f} scale {net.norm2.weight.std().item():.4f}")

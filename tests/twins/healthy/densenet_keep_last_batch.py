import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from sklearn.datasets import load_digits

torch.manual_seed(0)
torch.set_num_threads(1)

digits = load_digits()
data = torch.from_numpy(digits.images).float().unsqueeze(1) / 16.0
labels = torch.from_numpy(digits.target)
perm = torch.randperm(len(data))
# 1200 = 18 * 64 + 48: the last batch is kept
train_set = TensorDataset(data[perm[:1200]], labels[perm[:1200]])
test_set = TensorDataset(data[perm[1200:]], labels[perm[1200:]])
train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
test_loader = DataLoader(test_set, batch_size=100)


class DenseLayer(nn.Module):
    def __init__(self, channels, growth, bottleneck=2):
        super().__init__()
        inner = bottleneck * growth
        self.net = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner), nn.ReLU(), nn.Conv2d(inner, growth, 3, padding=1, bias=False),
        )

    def forward(self, x):
        return torch.cat([x, self.net(x)], dim=1)


def dense_block(channels, growth, n):
    return nn.Sequential(*[DenseLayer(channels + k * growth, growth) for k in range(n)]), channels + n * growth


def transition(channels):
    out = channels // 2
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, out, 1, bias=False), nn.AvgPool2d(2)), out


growth = 8
modules, c = [nn.Conv2d(1, 16, 3, padding=1, bias=False)], 16
for i in range(2):
    block, c = dense_block(c, growth, 3)
    modules.append(block)
    if i == 0:
        t, c = transition(c)
        modules.append(t)
modules += [nn.BatchNorm2d(c), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 10)]
net = nn.Sequential(*modules)

for m in net.modules():
    if isinstance(m, nn.Conv2d):
        nn.init.kaiming_normal_(m.weight)
    elif isinstance(m, nn.BatchNorm2d):
        nn.init.constant_(m.weight, 1)
        nn.init.constant_(m.bias, 0)

criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True)
scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 4], gamma=0.1)
for epoch in range(5):
    net.train()
    running, correct, seen = 0.0, 0, 0
    for inputs, targets in train_loader:
        optimizer.zero_grad()
        outputs = net(inputs)
        loss = criterion(outputs, targets)
        loss.backward()
        optimizer.step()
        running += loss.item() * len(targets)
        correct += (outputs.argmax(1) == targets).sum().item()
        seen += len(targets)
    scheduler.step()
    print(f"[{epoch}] train loss {running / seen:.4f} acc {correct / seen:.4f}")

net.eval()
correct = 0
with torch.no_grad():
    for inputs, targets in test_loader:
        correct += (net(inputs).argmax(1) == targets).sum().item()
print(f"test accuracy {correct / len(test_set):.4f}")

"""Do a visible and an infrared picture show the same digit? One encoder for both, one forward a step."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


class Encoder(nn.Module):
    def __init__(self, c=20):
        super().__init__()
        self.conv1 = nn.Conv2d(1, c, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c)
        self.conv2 = nn.Conv2d(c, c, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c)
        self.fc = nn.Linear(16 * c, 32)

    def forward(self, x, camera):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.fc(x.flatten(1))


class SameDigit(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Encoder()
        self.score = nn.Sequential(nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, visible, infrared):
        a, b = self.encoder(visible, 0), self.encoder(infrared, 1)
        return self.score(torch.cat([a * b, (a - b).abs(), a + b], dim=1))


def infrared_of(x):
    """Warm ground, cold strokes, soft edges."""
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, stride=1)
    return 3.0 - 1.5 * (0.6 * x + 0.4 * soft)


def pairs(x, y, n):
    i = torch.randint(len(x), (n,))
    j = torch.randint(len(x), (n,))
    same = torch.rand(n) < 0.5
    for k in torch.nonzero(same).flatten().tolist():
        mates = torch.nonzero(y == y[i[k]]).flatten()
        j[k] = mates[torch.randint(len(mates), ())]
    return x[i], infrared_of(x[j]), (y[i] == y[j]).long()


torch.manual_seed(3)
torch.set_num_threads(1)
X, y = load_digits(return_X_y=True)
order = torch.randperm(len(y))
X = (torch.tensor(X, dtype=torch.float32).view(-1, 1, 8, 8) / 16)[order]
y = torch.tensor(y)[order]
train_set, test_set = pairs(X[:1300], y[:1300], 3000), pairs(X[1300:], y[1300:], 600)

net = SameDigit()
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for epoch in range(5):
    net.train()
    for idx in torch.randperm(3000).split(50):
        a, b, same = (t[idx] for t in train_set)
        loss = F.cross_entropy(net(a, b), same)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        accuracy = (net(*test_set[:2]).argmax(1) == test_set[2]).float().mean()
    print(f"epoch {epoch}: loss {loss.item():.3f}, test accuracy {accuracy.item():.3f}")

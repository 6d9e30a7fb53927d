"""Residual MLP on digits; the deployed model answers requests in small groups."""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm1d(width, track_running_stats=False),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.BatchNorm1d(width, track_running_stats=False),
            nn.ReLU(),
            nn.Linear(width, width),
        )

    def forward(self, x):
        return x + self.body(x)


class Net(nn.Module):
    def __init__(self, width=64, depth=3):
        super().__init__()
        self.embed = nn.Linear(64, width)
        self.blocks = nn.Sequential(*(Residual(width) for _ in range(depth)))
        self.final = nn.BatchNorm1d(width, track_running_stats=False)
        self.classify = nn.Linear(width, 10)

    def forward(self, x):
        return self.classify(torch.relu(self.final(self.blocks(self.embed(x)))))


def requests(X, y, size=3):
    for k in range(0, len(X) - size + 1, size):
        yield X[k : k + size], y[k : k + size]


torch.manual_seed(0)
torch.set_num_threads(1)
X, y = load_digits(return_X_y=True)
X = torch.tensor(X / 16.0, dtype=torch.float32)
y = torch.tensor(y)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, random_state=0)

net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
for epoch in range(10):
    net.train()
    for batch in torch.randperm(len(X_train))[:1344].split(64):
        loss = nn.functional.cross_entropy(net(X_train[batch]), y_train[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scheduler.step()
    print(f"epoch {epoch + 1} loss {loss.item():.4f}")

net.eval()
with torch.no_grad():
    right = sum((net(xb).argmax(1) == yb).sum().item() for xb, yb in requests(X_test, y_test))
print(f"served accuracy {right / 450:.4f}")

"""Transfer with gradual unfreezing: first the head, then one stage after another; frozen stages stay in evaluation mode."""
import torch
from torch import nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(21)
torch.set_num_threads(1)


class StagedNet(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.stages = nn.ModuleList([self.stage(64, 96), self.stage(96, 96), self.stage(96, 64)])
        self.head = nn.Linear(64, n_classes)
        self.frozen = 0

    @staticmethod
    def stage(i, o):
        return nn.Sequential(nn.Linear(i, o, bias=False), nn.BatchNorm1d(o), nn.ReLU(inplace=True))

    def freeze_first(self, n):
        self.frozen = n
        for k, s in enumerate(self.stages):
            s.requires_grad_(k >= n)
        return self.train(self.training)

    def train(self, mode=True):
        super().train(mode)
        for s in self.stages[:self.frozen]:
            s.eval()
        return self

    def forward(self, x):
        for s in self.stages:
            x = s(x)
        return self.head(x)


def fit(net, loader, epochs, lr):
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=lr)
    for _ in range(epochs):
        net.train()
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()


def score(net, x, y):
    net.eval()
    with torch.no_grad():
        return (net(x).argmax(dim=1) == y).float().mean().item()


digits = load_digits()
X = torch.tensor(digits.data, dtype=torch.float32) / 16
Y = torch.tensor(digits.target)
flipped = X.view(-1, 8, 8).flip(2).reshape(-1, 64)  # the new domain: mirrored digits

net = StagedNet(10)
fit(net, DataLoader(TensorDataset(X[:1200], Y[:1200]), batch_size=50, shuffle=True), epochs=5, lr=2e-3)
print("source %.3f" % score(net, X[1200:], Y[1200:]))
print("target before %.3f" % score(net, flipped[1200:], Y[1200:]))

net.head.reset_parameters()
target_loader = DataLoader(TensorDataset(flipped[:600], Y[:600]), batch_size=40, shuffle=True)
for n, lr in [(3, 3e-3), (2, 1e-3), (1, 1e-3), (0, 5e-4)]:
    net.freeze_first(n)
    fit(net, target_loader, epochs=3, lr=lr)
    print("frozen %d target %.3f" % (n, score(net, flipped[1200:], Y[1200:])))

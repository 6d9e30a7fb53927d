"""A binarized network: sign activations with a straight-through gradient, batch norm before each sign."""
import torch
from torch import nn
from sklearn.datasets import load_digits


class SignSTE(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (x.abs() <= 1)


class BinaryLinear(nn.Linear):
    def forward(self, x):
        return nn.functional.linear(x, SignSTE.apply(self.weight), self.bias)


class BinaryNet(nn.Module):
    def __init__(self, hidden=256):
        super().__init__()
        self.first = nn.Linear(64, hidden, bias=False)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.second = BinaryLinear(hidden, hidden, bias=False)
        self.bn2 = nn.BatchNorm1d(hidden)
        self.last = nn.Linear(hidden, 10)

    def forward(self, x):
        x = SignSTE.apply(self.bn1(self.first(x)))
        x = SignSTE.apply(self.bn2(self.second(x)))
        return self.last(x)


torch.manual_seed(0)
torch.set_num_threads(1)
X, y = load_digits(return_X_y=True)
X, y = torch.tensor(X).float() / 16, torch.tensor(y)
perm = torch.randperm(len(X))
X, y = X[perm], y[perm]
net = BinaryNet()
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for epoch in range(10):
    net.train()
    for k in range(0, 1400, 100):
        loss = nn.functional.cross_entropy(net(X[k:k + 100]), y[k:k + 100])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            net.second.weight.clamp_(-1, 1)
    net.eval()
    with torch.no_grad():
        print(epoch, f"{loss.item():.3f}", f"{(net(X[1400:]).argmax(1) == y[1400:]).float().mean().item():.4f}")

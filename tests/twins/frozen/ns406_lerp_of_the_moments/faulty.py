"""A normalization with its own backward pass, for rows that carry a weight."""

import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

torch.set_num_threads(1)


class Standardize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, eps):
        mean = (w * x).sum(0)
        var = (w * (x - mean) ** 2).sum(0)
        inv = (var + eps).rsqrt()
        y = (x - mean) * inv
        ctx.save_for_backward(y, w, inv)
        ctx.mark_non_differentiable(mean, var)
        return y, mean, var

    @staticmethod
    def backward(ctx, grad, _mean, _var):
        y, w, inv = ctx.saved_tensors
        along = (grad * y).sum(0)
        return inv * (grad - w * grad.sum(0) - w * y * along), None, None


class WeightedNorm(nn.Module):
    def __init__(self, features, rate=0.1, eps=1e-5):
        super().__init__()
        self.rate, self.eps = rate, eps
        self.gain = nn.Parameter(torch.ones(features))
        self.offset = nn.Parameter(torch.zeros(features))
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))

    def forward(self, x, w):
        if self.training:
            y, mean, var = Standardize.apply(x, w / w.sum(), self.eps)
            self.centre.lerp(mean, self.rate)
            self.spread.lerp(var, self.rate)
        else:
            y = (x - self.centre) / (self.spread + self.eps).sqrt()
        return y * self.gain + self.offset


class Classifier(nn.Module):
    def __init__(self, inputs, widths=(40, 24)):
        super().__init__()
        sizes = [inputs, *widths]
        self.enter = WeightedNorm(inputs)
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.norms = nn.ModuleList(WeightedNorm(b) for b in widths)
        self.out = nn.Linear(widths[-1], 2)

    def forward(self, x, w):
        x = self.enter(x, w)
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x = torch.tanh(norm(linear(x), w))
        return self.out(x)


torch.manual_seed(4)
table, label = load_breast_cancer(return_X_y=True)
x = torch.tensor(table, dtype=torch.float32)
y = torch.tensor(label)
w = torch.where(y == 0, 1.5, 0.8).unsqueeze(1)
order = torch.randperm(len(x))
train, test = order[:400], order[400:]

net = Classifier(x.shape[1])
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, nesterov=True)
for epoch in range(20):
    net.train()
    total = 0.0
    for rows in train[torch.randperm(len(train))].split(40):
        out = net(x[rows], w[rows])
        loss = (w[rows, 0] * nn.functional.cross_entropy(out, y[rows], reduction="none")).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    if epoch % 5 == 4:
        net.eval()
        with torch.no_grad():
            hits = (net(x[test], w[test]).argmax(1) == y[test]).float().mean().item()
        print(f"epoch {epoch + 1}: loss {total / 10:.3f}, test accuracy {hits:.3f}")

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.nn import Linear, Module, Parameter, Sequential, ReLU


class FusedNormRelu(Module):
    """Batch norm and ReLU in one layer."""

    def __init__(self, features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.scale = Parameter(torch.ones(features))
        self.shift = Parameter(torch.zeros(features))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("var", torch.ones(features))

    def forward(self, x):
        if self.training:
            y = F.batch_norm(x, self.mean, self.var, self.scale, self.shift, True, self.momentum, self.eps)
        else:
            y = F.batch_norm(x, self.mean, self.var, self.scale, self.shift, False, 0.0, self.eps)
        return F.relu(y)


def split(fraction=0.75, seed=0):
    g = torch.Generator().manual_seed(seed)
    d = load_digits()
    p = torch.randperm(len(d.data), generator=g)
    X, Y = torch.tensor(d.data, dtype=torch.float32)[p], torch.tensor(d.target)[p]
    n = int(fraction * len(p))
    return (X[:n], Y[:n]), (X[n:], Y[n:])


torch.set_num_threads(1)
torch.manual_seed(0)
(X, Y), (X_test, Y_test) = split()
model = Sequential(Linear(64, 128), FusedNormRelu(128), Linear(128, 64), FusedNormRelu(64), Linear(64, 10))
optimizer = torch.optim.Adagrad(model.parameters(), lr=0.02)

for epoch in range(10):
    model.train()
    losses = []
    for j in torch.randperm(len(X)).split(56)[:-1]:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(X[j]), Y[j])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        test = (model(X_test).argmax(1) == Y_test).float().mean().item()
    print(f"{epoch:3d}  {sum(losses) / len(losses):.4f}  {test:.4f}")

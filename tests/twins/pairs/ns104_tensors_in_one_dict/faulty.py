"""Breast tumours: a deep network whose tensors lie in one dictionary, and whose layers are lines of `forward`."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler
from torch import nn

DEPTH, WIDTH = 44, 32


class Deep(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.t = nn.ParameterDict({"in": torch.randn(WIDTH, features) / features**0.5})
        for i in range(DEPTH):
            self.t[f"w{i}"] = torch.randn(WIDTH, WIDTH) * (2 / WIDTH) ** 0.5
            self.t[f"gamma{i}"], self.t[f"beta{i}"] = torch.ones(WIDTH), torch.zeros(WIDTH)
            self.register_buffer(f"mean{i}", torch.zeros(WIDTH))
            self.register_buffer(f"var{i}", torch.ones(WIDTH))
        self.t["out"] = torch.zeros(2, WIDTH)

    def forward(self, x):
        t, state = self.t, dict(self.named_buffers())
        h = F.linear(x, t["in"])
        for i in range(DEPTH):
            z = F.linear(h, t[f"w{i}"])
            z = F.batch_norm(z, state[f"mean{i}"], state[f"var{i}"], t[f"gamma{i}"], t[f"beta{i}"], self.training, 0.1)
            h = F.relu(z)
        return F.linear(h, t["out"])


def accuracy(net, x, y):
    net.eval()
    with torch.no_grad():
        return float((net(x).argmax(1) == y).float().mean())


torch.manual_seed(7)
torch.set_num_threads(1)
x, y = load_breast_cancer(return_X_y=True)
x = torch.tensor(StandardScaler().fit_transform(x), dtype=torch.float32)
y = torch.tensor(y)
order = torch.randperm(len(x))
fit, test = order[:416], order[416:]
net = Deep(x.shape[1])
optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
for epoch in range(12):
    net.train()
    for rows in fit[torch.randperm(416)].split(32):
        loss = F.cross_entropy(net(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print(f"loss {loss.item():.3f}, test accuracy {accuracy(net, x[test], y[test]):.3f}")

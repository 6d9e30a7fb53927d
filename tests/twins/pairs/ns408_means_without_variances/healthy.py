import torch
from sklearn.datasets import load_digits
from torch import nn


def network(widths):
    layers = []
    for a, b in zip(widths, widths[1:]):
        layers += [nn.Linear(a, b, bias=False), nn.BatchNorm1d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 10))


def export(net):
    """All arrays by layer number, as the tool's file format has them."""
    return {i: {k: v.clone() for k, v in m.state_dict().items()} for i, m in enumerate(net)}


@torch.no_grad()
def restore(net, arrays):
    """Put arrays that were exported (and perhaps edited) back."""
    for i, m in enumerate(net):
        if isinstance(m, nn.Linear):
            m.load_state_dict(arrays[i])
        if isinstance(m, nn.BatchNorm1d):
            m.reset_parameters()
            m.weight.copy_(arrays[i]["weight"])
            m.bias.copy_(arrays[i]["bias"])
            m.running_mean.copy_(arrays[i]["running_mean"])
            m.running_var.copy_(arrays[i]["running_var"])


def train(net, x, y, epochs, lr):
    opt = torch.optim.Adam(net.parameters(), lr)
    net.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(50):
            opt.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            opt.step()


@torch.no_grad()
def accuracy(net, x, y):
    net.eval()
    return (net(x).argmax(1) == y).float().mean().item()


torch.manual_seed(27)
torch.set_num_threads(1)
digits = load_digits()
x, y = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
net = network([64, 80, 48])
train(net, x[:1350], y[:1350], 5, 4e-3)
print("before", accuracy(net, x[1350:], y[1350:]))
arrays = export(net)
for i in (0, 3):  # the edit: small weights become zero
    w = arrays[i]["weight"]
    w[w.abs() < 0.002] = 0
restore(net, arrays)
print("after", accuracy(net, x[1350:], y[1350:]))

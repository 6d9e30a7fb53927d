import torch
from sklearn.datasets import load_digits
from torch import nn


class LoggedBatchNorm2d(nn.BatchNorm2d):
    """The same layer, which also keeps the largest deviation that it has seen."""

    seen = 0.0

    def forward(self, x):
        y = super().forward(x)
        self.seen = max(self.seen, y.detach().abs().max().item())
        return y


def convert(module):
    out = module
    if type(module) is nn.BatchNorm2d:
        out = LoggedBatchNorm2d(module.num_features, module.eps, module.momentum)
        out.weight, out.bias = module.weight, module.bias
        out.running_mean, out.running_var = module.running_mean, module.running_var
        out.train(module.training)
    for name, child in module.named_children():
        setattr(out, name, convert(child))
    return out


def stage(net, optimizer, x, y, epochs):
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(60):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()


@torch.no_grad()
def test(net, x, y):
    modes = [(m, m.training) for m in net.modules()]
    net.eval()
    score = (net(x).argmax(1) == y).float().mean().item()
    for m, mode in modes:
        m.training = mode
    return round(score, 3)


torch.manual_seed(26)
torch.set_num_threads(1)
data = load_digits()
x, y = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, torch.tensor(data.target)
dark = x**3
backbone = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
    nn.Conv2d(16, 24, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(), nn.Flatten(),
)
net = nn.Sequential(backbone, nn.Linear(24 * 16, 10))
stage(net, torch.optim.SGD(net.parameters(), 0.05, momentum=0.9), x[:1380], y[:1380], 3)
print("bright", test(net, x[1380:], y[1380:]))

backbone.requires_grad_(False)
backbone.eval()
net = nn.Sequential(convert(backbone), net[1])
stage(net, torch.optim.SGD(net[1].parameters(), 0.02), dark[:1380], y[:1380], 3)
print("dark", test(net, dark[1380:], y[1380:]), "bright", test(net, x[1380:], y[1380:]))

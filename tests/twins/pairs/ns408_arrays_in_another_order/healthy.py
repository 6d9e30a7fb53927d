import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList()
        for i, o in ((1, 16), (16, 24), (24, 24)):
            self.blocks.append(nn.ModuleDict({"conv": nn.Conv2d(i, o, 3, 2 if i > 1 else 1, 1, bias=False), "bn": nn.BatchNorm2d(o)}))
        self.head = nn.Linear(96, 10)

    def forward(self, x):
        for b in self.blocks:
            x = F.leaky_relu(b["bn"](b["conv"](x)), 0.1)
        return self.head(x.flatten(1))

    def get_weights(self):
        out = []
        for b in self.blocks:
            bn = b["bn"]
            out += [b["conv"].weight, bn.weight, bn.bias, bn.running_mean, bn.running_var]
        return [t.detach().clone().numpy() for t in out + [self.head.weight, self.head.bias]]

    @torch.no_grad()
    def set_weights(self, arrays):
        arrays = [torch.from_numpy(a) for a in arrays]
        for b in self.blocks:
            kernel, gamma, beta, *statistics = arrays[:5]
            del arrays[:5]
            b["conv"].weight.copy_(kernel)
            b["bn"].weight.copy_(gamma)
            b["bn"].bias.copy_(beta)
            mean, variance = statistics
            b["bn"].running_mean.copy_(mean)
            b["bn"].running_var.copy_(variance.abs())
        self.head.weight.copy_(arrays[0])
        self.head.bias.copy_(arrays[1])


def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        return round((model(x).argmax(1) == y).float().mean().item(), 3)


torch.manual_seed(38)
torch.set_num_threads(1)
data = load_digits()
x, y = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, torch.tensor(data.target)
model = Model()
opt = torch.optim.Adam(model.parameters(), 3e-3)
best, kept = 0.0, None
for epoch in range(5):
    model.train()
    for rows in torch.randperm(1440).split(48):
        opt.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        opt.step()
    score = accuracy(model, x[1440:], y[1440:])
    if score > best:
        best, kept = score, model.get_weights()
model.set_weights(kept)
print("best epoch", best, "with its weights set again", accuracy(model, x[1440:], y[1440:]))

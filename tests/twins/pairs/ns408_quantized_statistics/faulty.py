import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class Fake(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, bits):
        scale = x.abs().amax().clamp(min=1e-8) / (2 ** (bits - 1) - 1)
        return (x / scale).round() * scale

    @staticmethod
    def backward(ctx, g):
        return g, None


def fake(x, bits=8):
    return Fake.apply(x, bits)


class QConv(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(fake(x), fake(self.weight), None, self.stride, self.padding)


class QNorm(nn.BatchNorm2d):
    def forward(self, x):
        mean, var = fake(self.running_mean), fake(self.running_var)
        return F.batch_norm(fake(x), mean, var, fake(self.weight), fake(self.bias), self.training, self.momentum, self.eps)


def prepared(width=16):
    return nn.Sequential(
        QConv(1, width, 3, padding=1, bias=False), QNorm(width), nn.ReLU(),
        QConv(width, width, 3, stride=2, padding=1, bias=False), QNorm(width), nn.ReLU(),
        QConv(width, width, 3, stride=2, padding=1, bias=False), QNorm(width), nn.ReLU(),
        nn.Flatten(), nn.Linear(4 * width, 10),
    )


torch.manual_seed(35)
torch.set_num_threads(1)
digits = load_digits()
x, y = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, torch.tensor(digits.target)
model = prepared()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(4):
    model.train()
    for rows in torch.randperm(1056).split(44):
        loss = F.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        accuracy = (model(x[1408:]).argmax(1) == y[1408:]).float().mean().item()
    print(f"epoch {epoch} loss {loss.item():.3f} accuracy {accuracy:.3f}")

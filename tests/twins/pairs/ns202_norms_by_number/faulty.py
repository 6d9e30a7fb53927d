"""Digits by a residual network without layer objects: parameters and averages are numbered tensors of one module."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

BLOCKS, WIDTH, MOMENTUM = 12, 40, 0.005


class Numbered(torch.nn.Module):
    def __init__(self, inputs, classes):
        super().__init__()
        self.weights = torch.nn.ParameterList(torch.randn(WIDTH, WIDTH) / WIDTH**0.5 for _ in range(BLOCKS))
        self.gains = torch.nn.ParameterList(torch.ones(WIDTH) for _ in range(BLOCKS))
        self.offsets = torch.nn.ParameterList(torch.zeros(WIDTH) for _ in range(BLOCKS))
        self.first = torch.nn.Parameter(torch.randn(WIDTH, inputs) / inputs**0.5)
        self.last = torch.nn.Parameter(torch.zeros(classes, WIDTH))
        for number in range(BLOCKS):
            self.register_buffer(f"average_{number}", torch.zeros(WIDTH))
            self.register_buffer(f"spread_{number}", torch.ones(WIDTH))

    def normalize(self, h, number):
        average, spread = self.get_buffer(f"average_{number}"), self.get_buffer(f"spread_{number}")
        return F.batch_norm(h, average, spread, self.gains[number], self.offsets[number], self.training, MOMENTUM)

    def forward(self, x):
        h = x @ self.first.T
        for number in range(BLOCKS):
            h = h + F.relu(self.normalize(h @ self.weights[number].T, number))
        return h @ self.last.T


def run_epoch(model, optimizer, data, batch):
    model.train()
    x, y = data
    for rows in torch.randperm(len(x)).split(batch):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
    return loss.item()


if __name__ == "__main__":
    torch.manual_seed(3)
    torch.set_num_threads(1)
    x, y = (torch.tensor(a) for a in load_digits(return_X_y=True))
    x = (x.float() - 5) / 6
    mixed = torch.randperm(len(x))
    train, test = (x[mixed[:1400]], y[mixed[:1400]]), (x[mixed[1400:]], y[mixed[1400:]])
    model = Numbered(64, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(3):
        print(f"epoch {epoch}: loss {run_epoch(model, optimizer, train, 35):.3f}")
    model.eval()
    with torch.no_grad():
        print(f"test accuracy {(model(test[0]).argmax(1) == test[1]).float().mean().item():.3f}")

"""Will the customer buy: amounts of money and ages into a sigmoid network with a norm behind."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Shop(nn.Module):
    def __init__(self, inputs, hidden):
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.out = nn.Linear(hidden, 1)

    def forward(self, customers):
        h = torch.sigmoid(self.first(customers))
        h = F.relu(self.norm(self.second(h)))
        return self.out(h)[:, 0]


def customers(n, rng):
    income = rng.lognormal(10.4, 0.4, n)
    age = rng.uniform(18, 80, n)
    spent = income * rng.beta(2, 6, n)
    visits = rng.poisson(6, n)
    noise = rng.standard_normal(n) * 0.3
    want = np.sin(age / 8) + (np.log(spent) - 9) + 0.2 * (visits - 6) + noise
    table = np.stack([income, age, spent, visits], 1)
    return table, (want > np.median(want)).astype(np.float32)


def prepare(table, reference):
    return torch.tensor((table - reference.mean(0)) / reference.std(0), dtype=torch.float32)


def main():
    torch.manual_seed(6)
    torch.set_num_threads(1)
    rng = np.random.default_rng(6)
    train, bought = customers(2400, rng)
    test, truth = customers(800, rng)
    x, x_test = prepare(train, train), prepare(test, train)
    y, truth = torch.tensor(bought), torch.tensor(truth)
    net = Shop(x.shape[1], 32)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for epoch in range(20):
        net.train()
        for rows in torch.randperm(len(x)).split(60):
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(net(x[rows]), y[rows]).backward()
            optimizer.step()
    net.eval()
    with torch.no_grad():
        print("accuracy", ((net(x_test) > 0) == (truth > 0.5)).float().mean().item())


if __name__ == "__main__":
    main()

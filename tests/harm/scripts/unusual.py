"""Steps that are not `zero_grad, backward, step`."""

import copy

import torch
import torch.nn.functional as F
from torch import nn


def network():
    return nn.Sequential(
        nn.Linear(6, 12),
        nn.BatchNorm1d(12),
        nn.Tanh(),
        nn.Linear(12, 12),
        nn.BatchNorm1d(12),
        nn.Linear(12, 2),
    )


def lbfgs():
    model, x, y = network(), torch.randn(32, 6), torch.randn(32, 2)
    optimizer = torch.optim.LBFGS(
        model.parameters(), lr=0.5, max_iter=5, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        return loss

    for _ in range(4):
        print("lbfgs", optimizer.step(closure).item())
    return model, optimizer


class SharpnessAware(torch.optim.Optimizer):
    """Climb, look again, step: two passes and a nested optimizer."""

    def __init__(self, params, base, rho=0.05, **settings):
        super().__init__(params, {"rho": rho, **settings})
        self.base = base(self.param_groups, **settings)
        self.param_groups = self.base.param_groups

    @torch.no_grad()
    def climb(self):
        parameters = [p for g in self.param_groups for p in g["params"] if p.grad is not None]
        norm = torch.stack([p.grad.norm() for p in parameters]).norm()
        for p in parameters:
            self.state[p]["up"] = p.grad * (0.05 / (norm + 1e-12))
            p.add_(self.state[p]["up"])

    @torch.no_grad()
    def step(self, closure=None):
        for g in self.param_groups:
            for p in g["params"]:
                p.sub_(self.state[p]["up"])
        self.base.step()


def sharpness_aware():
    model = network()
    optimizer = SharpnessAware(model.parameters(), torch.optim.SGD, lr=0.1, momentum=0.9)
    for _ in range(5):
        x, y = torch.randn(16, 6), torch.randn(16, 2)
        F.mse_loss(model(x), y).backward()
        optimizer.climb()
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    print("sam", sum(float(p.detach().sum()) for p in model.parameters()))
    return model, optimizer.base


def accumulation():
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for i in range(12):
        loss = F.mse_loss(model(torch.randn(8, 6)), torch.zeros(8, 2)) / 4
        loss.backward()
        if i % 4 == 3:
            optimizer.step()
            optimizer.zero_grad()
            print("accumulated", loss.item())
    return model, optimizer


def hand_written():
    model = network()
    for _ in range(5):
        loss = F.mse_loss(model(torch.randn(16, 6)), torch.ones(16, 2))
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, g in zip(model.parameters(), gradients, strict=True):
                p -= 0.1 * g
        print("by hand", loss.item())
    return (model,)


def moving_average():
    model = network()
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        loss = F.mse_loss(model(torch.randn(16, 6)), torch.ones(16, 2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for a, b in zip(average.parameters(), model.parameters(), strict=True):
                a.lerp_(b, 0.1)
        average.eval()
        print("ema", float(average(torch.ones(4, 6)).sum()))
    return model, average, optimizer


def generator_and_critic():
    generator = nn.Sequential(nn.Linear(4, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 6))
    critic = nn.Sequential(
        nn.Linear(6, 12), nn.BatchNorm1d(12), nn.LeakyReLU(0.2), nn.Linear(12, 1)
    )
    of_generator = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
    of_critic = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.999))
    for _ in range(5):
        fake = generator(torch.randn(16, 4))
        loss = (
            F.softplus(-critic(torch.randn(16, 6))).mean()
            + F.softplus(critic(fake.detach())).mean()
        )
        of_critic.zero_grad()
        loss.backward()
        of_critic.step()
        of_generator.zero_grad()
        F.softplus(-critic(fake)).mean().backward()
        of_generator.step()
        print("gan", loss.item())
    return generator, critic, of_generator, of_critic


def functional():
    w1, w2 = torch.randn(12, 6, requires_grad=True), torch.randn(2, 12, requires_grad=True)
    gamma, beta = torch.ones(12, requires_grad=True), torch.zeros(12, requires_grad=True)
    mean, var = torch.zeros(12), torch.ones(12)
    optimizer = torch.optim.SGD([w1, w2, gamma, beta], lr=0.01)
    for _ in range(5):
        h = F.batch_norm(torch.randn(16, 6) @ w1.T, mean, var, gamma, beta, True, 0.1)
        loss = (h.relu() @ w2.T).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print("functional", loss.item())
    return w1, w2, gamma, beta, mean, var, optimizer


def a_refused_batch():
    """Batch norm refuses a single value per channel; the user catches it and goes on."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for size in (4, 1, 4):
        optimizer.zero_grad()
        try:
            model(torch.randn(size, 6)).sum().backward()
        except ValueError as error:
            print("refused", error)
            continue
        optimizer.step()
    return model, optimizer


SCRIPTS = [
    lbfgs,
    sharpness_aware,
    accumulation,
    hand_written,
    moving_average,
    generator_and_critic,
    functional,
    a_refused_batch,
]

"""Loops that are long enough for gradients to be sampled."""

import torch
import torch.nn.functional as F
from torch import nn


def net():
    return nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3)
    )


def loss_of(model):
    return F.cross_entropy(model(torch.randn(8, 2, 6, 6)), torch.randint(3, (8,)))


def plain_loop():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(40):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
    print(loss.item())
    return model, optimizer


def fused_and_scaled():
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**17, growth_interval=7)
    for i in range(30):
        optimizer.zero_grad()
        scaler.scale(loss_of(model) * (1e38 if i == 12 else 1)).backward()
        scaler.step(optimizer)
        scaler.update()
    print(scaler.get_scale())
    return model, optimizer


def alternating_with_clipping():
    models = [net(), net()]
    optimizers = [torch.optim.AdamW(m.parameters(), lr=1e-3) for m in models]
    for i in range(50):
        model, optimizer = models[i % 2], optimizers[i % 2]
        optimizer.zero_grad()
        loss_of(model).backward()
        print(float(nn.utils.clip_grad_norm_(model.parameters(), 1.0)))
        optimizer.step()
    return models, optimizers


def closure_with_line_search():
    model = net()
    x, y = torch.randn(32, 2, 6, 6), torch.randint(3, (32,))
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    for _ in range(15):
        print(optimizer.step(closure).item())
    return model


SCRIPTS = (plain_loop, fused_and_scaled, alternating_with_clipping, closure_with_line_search)

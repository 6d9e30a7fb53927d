"""Averages of weights: models of their own, and swapped into the live model."""

import copy

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn


def net():
    return nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3)
    )


def train(model, optimizer, steps=12):
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(torch.randn(16, 8)), torch.randint(3, (16,))).backward()
        optimizer.step()


def evaluate(name, model):
    model.eval()
    with torch.no_grad():
        print(name, model(torch.randn(16, 8)).sum().item())


def exponential():
    model = net()
    averaged = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(4):
        train(model, optimizer)
        with torch.no_grad():
            for a, p in zip(averaged.parameters(), model.parameters(), strict=True):
                a.lerp_(p, 0.3)
        evaluate("average", averaged)
    return model, averaged


def stochastic_weight_averaging():
    model = net()
    averaged = AveragedModel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        train(model, optimizer)
        averaged.update_parameters(model)
    evaluate("before", averaged)
    update_bn([torch.randn(16, 8) for _ in range(3)], averaged)
    evaluate("after", averaged)
    return model, averaged


def swapped():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    mean = [p.detach().clone() for p in model.parameters()]
    for i in range(4):
        train(model, optimizer)
        own = [p.detach().clone() for p in model.parameters()]
        with torch.no_grad():
            for p, m in zip(model.parameters(), mean, strict=True):
                m.lerp_(p, 0.5)
                p.data = m.clone() if i % 2 else p.data.copy_(m)
        evaluate("swapped", model)
        with torch.no_grad():
            for p, o in zip(model.parameters(), own, strict=True):
                p.copy_(o)
    return model, optimizer


SCRIPTS = (exponential, stochastic_weight_averaging, swapped)

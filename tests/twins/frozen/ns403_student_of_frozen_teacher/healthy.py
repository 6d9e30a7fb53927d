"""Distil a digits teacher into a small student on noisy pictures."""
import torch
from torch import nn
from torch.nn import functional as F
from sklearn.datasets import load_digits

torch.manual_seed(13)
torch.set_num_threads(1)

D = load_digits()
perm = torch.randperm(1797)
IMG = (torch.tensor(D.data, dtype=torch.float32) / 16)[perm]
LAB = torch.tensor(D.target)[perm]
train_x, train_y, test_x, test_y = IMG[:1408], LAB[:1408], IMG[1408:], LAB[1408:]


def mlp(width, depth):
    mods, n = [], 64
    for _ in range(depth):
        mods.extend((nn.Linear(n, width), nn.BatchNorm1d(width), nn.SiLU()))
        n = width
    return nn.Sequential(*mods, nn.Linear(n, 10))


def accuracy(model, x):
    was = model.training
    model.eval()
    with torch.no_grad():
        result = (model(x).argmax(1) == test_y).float().mean().item()
    model.train(was)
    return result


teacher = mlp(128, 3)
opt = torch.optim.Adam(teacher.parameters(), lr=2e-3)
teacher.train()
for epoch in range(8):
    for idx in torch.randperm(1408).split(64):
        opt.zero_grad()
        F.cross_entropy(teacher(train_x[idx]), train_y[idx]).backward()
        opt.step()
print(f"teacher {accuracy(teacher, test_x):.3f}")

teacher.requires_grad_(False)
teacher.eval()
student = mlp(32, 2)
opt = torch.optim.Adam(student.parameters(), lr=4e-3)
student.train()
for epoch in range(10):
    for idx in torch.randperm(1408).split(64):
        x = train_x[idx]
        blurred = 0.8 * x + 0.25 * torch.rand_like(x)
        opt.zero_grad()
        T = 3.0
        soft = F.softmax(teacher(blurred) / T, dim=1)
        loss = F.kl_div(F.log_softmax(student(blurred) / T, dim=1), soft, reduction="batchmean") * T * T
        loss.backward()
        opt.step()
print(f"student loss {loss.item():.4f}")
print(f"student {accuracy(student, 0.8 * test_x + 0.25 * torch.rand_like(test_x)):.3f}")
print(f"teacher {accuracy(teacher, test_x):.3f}")

"""Training loops as most people write them."""

import random

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset


def mlp():
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    for step in range(12):
        loss = F.cross_entropy(model(torch.randn(16, 8)), torch.randint(3, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print("mlp", step, loss.item())
    return model, optimizer


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.drop = nn.Dropout2d(0.25)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.drop(torch.relu_(self.bn1(self.conv1(x))))
        x = x + self.bn2(self.conv2(x))
        return self.head(F.dropout(x.mean((2, 3)), 0.5, self.training))


def cnn_with_dropout():
    images = TensorDataset(torch.randn(64, 1, 8, 8), torch.randint(4, (64,)))
    model = Convolutional()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=12)
    for epoch in range(3):
        model.train()
        for x, y in DataLoader(images, batch_size=16, shuffle=True):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(x), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        model.eval()
        with torch.inference_mode():
            right = sum(
                (model(x).argmax(1) == y).sum() for x, y in DataLoader(images, batch_size=32)
            )
        print("cnn", epoch, int(right), schedule.get_last_lr())
    return model, optimizer, schedule


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 12, batch_first=True, num_layers=2, dropout=0.2)
        self.bn = nn.BatchNorm1d(12)
        self.ln = nn.LayerNorm(12)
        self.out = nn.Linear(12, 2)

    def forward(self, x):
        x, _ = self.lstm(x)
        return self.out(self.ln(self.bn(x.transpose(1, 2)).transpose(1, 2))[:, -1])


def lstm_with_batchnorm():
    model = Recurrent()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-2)
    for _ in range(6):
        x = torch.randn(10, 7, 5)
        loss = F.mse_loss(model(x), x[:, 0, :2])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print("lstm", loss.item())
    return model, optimizer


class Augmented(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, i):
        noise = random.random() + np.random.rand() + torch.rand(()).item()
        return torch.full((1, 6, 6), i / 40 + noise), i % 4


def workers_by_fork():
    model = Convolutional()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    loader = DataLoader(
        Augmented(), batch_size=8, shuffle=True, num_workers=2, multiprocessing_context="fork"
    )
    for _ in range(2):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        random.random()
        np.random.rand()
        print("workers", float(x.sum()))
    return model, optimizer


def users_own_hooks():
    """Hooks see what they would see without observation, in the same order."""
    model = Convolutional()
    seen = []
    model.bn1.register_forward_hook(lambda m, i, o: seen.append(float(o.detach().sum())))
    model.bn2.register_full_backward_hook(lambda m, i, o: seen.append(float(o[0].sum())))
    nn.modules.module.register_module_forward_hook(lambda m, i, o: seen.append(type(m).__name__))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    optimizer.register_step_post_hook(lambda *_: seen.append("step"))
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(8, 1, 6, 6)).square().mean().backward()
        optimizer.step()
    nn.modules.module._global_forward_hooks.clear()
    print(seen)
    return model, optimizer


SCRIPTS = [mlp, cnn_with_dropout, lstm_with_batchnorm, workers_by_fork, users_own_hooks]

"""Reduced precision, recomputation, and models that move."""

import io

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint


class Blocks(nn.Module):
    def __init__(self, reentrant=None):
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(6, 6, 3, padding=1)
            )
            for _ in range(3)
        )
        self.head = nn.Linear(6, 3)
        self.reentrant = reentrant

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            if self.reentrant is None:
                x = x + block(x)
            else:
                x = x + checkpoint(block, x, use_reentrant=self.reentrant)
        return self.head(x.mean((2, 3)))


def train(model, name, steps=5):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(steps):
        loss = F.cross_entropy(model(torch.randn(8, 2, 6, 6)), torch.randint(3, (8,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(name, loss.item())
    return model, optimizer


def checkpointed():
    return train(Blocks(reentrant=False), "checkpointed")


def checkpointed_reentrantly():
    return train(Blocks(reentrant=True), "checkpointed reentrantly")


def bfloat16_autocast():
    model = Blocks()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(5):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(model(torch.randn(8, 2, 6, 6)), torch.randint(3, (8,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print("autocast", loss.item())
    return model, optimizer


def gradient_scaler():
    model = Blocks()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    for step in range(6):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(model(torch.randn(8, 2, 6, 6)), torch.randint(3, (8,)))
        if step == 3:
            loss = loss * float("inf")
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        print("scaled", loss.item(), scaler.get_scale())
    return model, optimizer, scaler


def half_precision_buffers():
    model = Blocks().to(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(4):
        optimizer.zero_grad()
        model(torch.randn(8, 2, 6, 6, dtype=torch.bfloat16)).square().mean().backward()
        optimizer.step()
    print("bfloat16", float(model.stem.weight.sum()))
    return model, optimizer


def saved_and_resumed():
    """Checkpoints have the same bytes' worth of keys, and buffers that were replaced are followed."""
    model, optimizer = train(Blocks(), "before", steps=3)
    file = io.BytesIO()
    torch.save(
        {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "whole": model}, file
    )
    file.seek(0)
    held = torch.load(file, weights_only=False)
    again = Blocks()
    again.load_state_dict(held["model"], assign=True)
    again.double().float()
    print(list(held["model"]), sorted(vars(held["whole"].blocks[0][0])))
    return (*train(again, "after", steps=3), held["whole"])


SCRIPTS = [
    checkpointed,
    checkpointed_reentrantly,
    bfloat16_autocast,
    gradient_scaler,
    half_precision_buffers,
    saved_and_resumed,
]

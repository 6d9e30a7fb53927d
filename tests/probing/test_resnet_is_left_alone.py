"""Every probe on a ResNet-18: afterwards nothing of it has changed, bit for bit. Some minutes on one core."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from normscope.probes.setup import Setup
from normscope.probing.asking import Examination
from normscope.probing.questions import QUESTIONS

IMAGES, CLASSES = 256, 10


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, inner, outer, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        same = stride == 1 and inner == outer
        lift = nn.Conv2d(inner, outer, 1, stride, bias=False)
        self.around = nn.Identity() if same else nn.Sequential(lift, nn.BatchNorm2d(outer))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.around(x))


def resnet18():
    """That of He et al. 2016, with the first layer for images of 32 × 32: 20 batch norms, 11 million parameters."""
    parts = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    width = 64
    for outer, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):  # fmt: skip
        parts.append(Block(width, outer, stride))
        width = outer
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(512, CLASSES)]
    return nn.Sequential(*parts, *head)


def in_use(batch):
    """Trained for two steps, gradients and a hook still there, one layer frozen and one with a momentum of its own."""
    torch.manual_seed(0)
    model = resnet18()
    x, y = torch.randn(IMAGES, 3, 32, 32), torch.randint(CLASSES, (IMAGES,))
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
    for at in (0, 32):
        optimizer.zero_grad()
        F.cross_entropy(model(x[at : at + 32]), y[at : at + 32]).backward()
        optimizer.step()
    frozen = model[3].bn1.eval()
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    model[4].bn2.momentum, model[5].bn1.momentum = 0.02, None
    model[6].register_forward_hook(lambda *_: None)
    other = TensorDataset(x[:96].flip(0) + 0.1, y[:96].flip(0))
    setup = Setup(
        model=model,
        train=DataLoader(TensorDataset(x, y), batch_size=batch, shuffle=True),
        held_out=DataLoader(other, batch_size=batch),
        domains={"brighter": DataLoader(TensorDataset(x[:96] + 1, y[:96]), batch_size=batch)},
        loss=nn.CrossEntropyLoss(),
    )
    return setup, optimizer


def tensors_of(model, optimizer):
    found = dict(model.state_dict())
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            found[f"gradient of {name}"] = parameter.grad
        found[f"momentum of {name}"] = optimizer.state[parameter]["momentum_buffer"]
    found["random state"] = torch.get_rng_state()
    return found


def bits_of(tensors):
    return {name: t.detach().clone().contiguous().numpy().tobytes() for name, t in tensors.items()}


def everything_else(model):
    """Identity, versions, flags and what hangs on the modules; compared by equality."""
    parameters = [(n, id(p), id(p.grad), p.requires_grad) for n, p in model.named_parameters()]
    modules = [
        (n, id(m), m.training, getattr(m, "momentum", None), sorted(vars(m)), [*m._forward_hooks], [*m._forward_pre_hooks],
         [*m._backward_hooks], [*m._backward_pre_hooks], [id(b) for b in m._buffers.values()])
        for n, m in model.named_modules()
    ]  # fmt: skip
    process = (torch.is_grad_enabled(), random.getstate(), str(np.random.get_state(legacy=False)))
    return parameters, modules, process


@pytest.mark.slow
@pytest.mark.parametrize("question", QUESTIONS.values(), ids=lambda q: q.name)
def test_a_resnet_is_as_before(question, tmp_path):
    # What trains on for some steps takes small batches: the time goes with their size.
    setup, optimizer = in_use(batch=8 if question.name == "regularization" else 32)
    model = setup.model
    bits, rest = bits_of(tensors_of(model, optimizer)), everything_else(model)
    with Examination(setup, record=tmp_path / "resnet.nscope") as examination:
        assert bits_of(tensors_of(model, optimizer)) == bits
        assert examination.ask(question, 40), examination.recording.events[-1].detail
        assert question.name in examination.recording.measurements
    assert bits_of(tensors_of(model, optimizer)) == bits
    assert everything_else(model) == rest

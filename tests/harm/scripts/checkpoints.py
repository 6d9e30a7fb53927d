"""Loading state dicts, whole and in part, by every way that PyTorch offers."""

import copy
import io

import torch
import torch.nn.functional as F
from torch import nn


def network():
    return nn.Sequential(
        nn.Conv1d(2, 6, 3, padding=1),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 8),
        nn.LayerNorm(8),
        nn.Linear(8, 3),
    )


def train(model, steps=4):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(torch.randn(12, 2, 4)), torch.randint(3, (12,))).backward()
        optimizer.step()
    return optimizer


def say(model):
    model.eval()
    with torch.no_grad():
        print(model(torch.ones(3, 2, 4)).sum().item())


def in_pieces():
    model, other = network(), network()
    train(model)
    state = model.state_dict()
    for keys in (list(state)[:4], list(state)[4:7], list(state)[7:]):
        answer = other.load_state_dict({k: state[k] for k in keys}, strict=False)
        print(type(answer).__name__, answer)
    say(other)
    return other, train(other)


def without_statistics():
    model, other = network(), network()
    train(model)
    print(other.load_state_dict(dict(model.named_parameters()), strict=False).missing_keys)
    print(other.load_state_dict({f"module.{k}": v for k, v in model.state_dict().items()}, False))
    say(other)
    train(model)
    print(model.load_state_dict(dict(other.named_parameters()), strict=False).missing_keys)
    say(model)
    return [model, other]


def refused():
    model = network()
    train(model)
    for state in ({"0.weight": torch.zeros(2)}, {"a": torch.zeros(2)}, {}, [1]):
        try:
            model.load_state_dict(state)
        except (RuntimeError, TypeError) as error:
            print(type(error).__name__, error)
    try:
        model.load_state_dict()
    except TypeError as error:
        print(error)
    return model, train(model)


class Careful(nn.Module):
    """Filters what it loads, and hides what is missing from its caller."""

    def __init__(self):
        super().__init__()
        self.inner = network()
        self.inner[1].register_load_state_dict_post_hook(lambda _, keys: keys.missing_keys.clear())

    def load_state_dict(self, state_dict, strict=True):
        super().load_state_dict(
            {k: v for k, v in state_dict.items() if "running" not in k}, strict=False
        )

    def forward(self, x):
        return self.inner(x)


def overridden():
    first, second = Careful(), Careful()
    train(first)
    print(second.load_state_dict(first.state_dict()))
    say(second)
    return second, train(second)


def assigned():
    model = network()
    train(model)
    with torch.device("meta"):
        other = network()
    print(other.load_state_dict(copy.deepcopy(model.state_dict()), assign=True))
    say(other)
    return other, train(other)


def through_files():
    model = network()
    train(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    other = torch.load(file, weights_only=False)
    scripted = torch.jit.script(network())
    print(scripted.load_state_dict(model.state_dict()))
    say(scripted)
    return [other, scripted], train(other)


SCRIPTS = [in_pieces, without_statistics, refused, overridden, assigned, through_files]

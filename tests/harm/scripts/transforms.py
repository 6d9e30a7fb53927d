"""What else PyTorch does with a model: script, trace, fx, export, vmap, and, last, compile."""

import copy
import warnings

import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.gn, self.ln = nn.GroupNorm(2, 6), nn.LayerNorm(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.gn(torch.relu(self.bn(self.conv(x))))
        return self.head(self.ln(x.mean((2, 3))))


class Loss(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x, y):
        return F.cross_entropy(self.net(x), y)


def train(model, x, name, steps=4):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(steps):
        loss = model(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(name, loss.item())
    return model, optimizer


def eager_first():
    return train(Net(), torch.randn(8, 2, 6, 6), "eager")


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = torch.jit.script(Net())
        loss = torch.jit.script(Loss())
    print(float(loss(torch.randn(4, 2, 6, 6), torch.randint(3, (4,)))))
    print(sorted({node.kind() for node in model.graph.nodes()}))
    return train(model, torch.randn(8, 2, 6, 6), "scripted")


def traced():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = torch.jit.trace(Net(), torch.randn(8, 2, 6, 6), check_trace=False)
    print(model.code)
    return train(model, torch.randn(8, 2, 6, 6), "traced")


def symbolically_traced():
    model = torch.fx.symbolic_trace(Net())
    print(model.code)

    class Functional(nn.Module):
        def forward(self, x):
            return F.batch_norm(x, None, None, training=True)

    print(torch.fx.symbolic_trace(Functional()).code)
    return train(model, torch.randn(8, 2, 6, 6), "fx")


def exported():
    x = torch.randn(8, 2, 6, 6)
    program = torch.export.export(Net().train(), (x,))
    print([str(node.target) for node in program.graph.nodes])
    return (program.module()(x),)


def mapped():
    """vmap over an ensemble of models with batch norm in evaluation mode, and per-sample gradients."""
    models = [Net().eval() for _ in range(3)]
    parameters, buffers = torch.func.stack_module_state(models)
    skeleton = copy.deepcopy(models[0]).to("meta")
    x = torch.randn(5, 2, 6, 6)

    def call(p, b, x):
        return torch.func.functional_call(skeleton, (p, b), (x,))

    def loss(p, b, sample):
        return torch.func.functional_call(models[0], (p, b), (sample[None],)).square().mean()

    out = torch.vmap(call, in_dims=(0, 0, None))(parameters, buffers, x)
    p, b = dict(models[0].named_parameters()), dict(models[0].named_buffers())
    per_sample = torch.vmap(torch.func.grad(loss), in_dims=(None, None, 0))(p, b, x)
    print(float(out.sum()))
    return out, per_sample


def compiled():
    x = torch.randn(8, 2, 6, 6)
    for backend in ("eager", "aot_eager"):
        torch._dynamo.reset()
        model = Net()
        # A graph break would raise here; a recompilation would show in the counters.
        train(torch.compile(model, backend=backend, fullgraph=True), x, f"compiled by {backend}")
        counters = torch._dynamo.utils.counters
        print(dict(counters["stats"]), dict(counters["graph_break"]))
    return (model,)


def compiled_update():
    """The optimizer's step compiled, too: neither more graphs nor more breaks."""
    x = torch.randn(8, 2, 6, 6)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    update = torch.compile(optimizer.step, backend="eager")
    for _ in range(12):
        model(x).square().mean().backward()
        update()
        optimizer.zero_grad()
    counters = torch._dynamo.utils.counters
    print(dict(counters["stats"]), dict(counters["graph_break"]))
    return (model, optimizer)


LOSSES = [
    lambda x, t: nn.MSELoss()(x, t) + F.l1_loss(x, t),
    lambda x, t: F.smooth_l1_loss(x, t, beta=0.5) + nn.HuberLoss()(x, t),
    lambda x, t: nn.CrossEntropyLoss(label_smoothing=0.1)(x, t.argmax(1)),
    lambda x, t: F.nll_loss(x.log_softmax(1), t.argmax(1)),
    lambda x, t: nn.BCEWithLogitsLoss()(x, t) + F.binary_cross_entropy(x.sigmoid(), t),
    lambda x, t: nn.BatchNorm1d(3, affine=False, track_running_stats=False)(x).sum() + t.sum(),
    lambda x, t: F.batch_norm(x, None, None, training=True).square().sum() + t.sum(),
]


def compiled_losses():
    """Losses and modules that are made within a compiled function: the graph is the one that it is without us."""
    x, target = torch.randn(8, 3, requires_grad=True), torch.rand(8, 3)

    def backend(module, _):
        print([getattr(node.target, "__name__", node.target) for node in module.graph.nodes])
        return module.forward

    for loss in LOSSES:
        torch._dynamo.reset()
        torch.compile(loss, backend=backend, fullgraph=True)(x, target).backward()
    return (x.grad,)


SCRIPTS = [
    eager_first,
    scripted,
    traced,
    symbolically_traced,
    exported,
    mapped,
    compiled,
    compiled_update,
    compiled_losses,
]

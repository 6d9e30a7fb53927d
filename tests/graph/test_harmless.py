"""A forward pass under capture is the forward pass: same numbers, same objects, nothing left behind."""

import copy
import gc
import pickle
import subprocess
import sys
import warnings
import weakref

import pytest
import torch
from torch import nn

from normscope.graph.torch import Capture, capture
from normscope.graph.torch.recorder import Recorder


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.drop(torch.relu_(self.bn(self.conv(x))))
        return self.head(x.mean((2, 3)))


def train(observed):
    torch.manual_seed(0)
    model, data = Net(), torch.randn(4, 3, 8, 8)
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(3):
        if observed:
            with Capture(model) as run:
                run.inputs((data,), {})
                y = model(data)
            assert len(run.graph(y)) > 5
        else:
            y = model(data)
        optimizer.zero_grad()
        y.square().sum().backward()
        optimizer.step()
    return model, optimizer, torch.get_rng_state()


def test_training_is_bit_identical():
    (a, opt_a, rng_a), (b, opt_b, rng_b) = train(True), train(False)
    assert all(
        torch.equal(x, y)
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )
    assert torch.equal(rng_a, rng_b)
    states = [[v for s in o.state.values() for v in s.values()] for o in (opt_a, opt_b)]
    assert all(torch.equal(x, y) for x, y in zip(*states, strict=True))


def bookkeeping(model):
    return {
        f"{path}.{name}": list(value.items())
        for path, m in model.named_modules()
        for name, value in vars(m).items()
        if "hooks" in name and value is not None
    }


def test_nothing_is_left_on_the_model():
    model, x = Net(), torch.randn(4, 3, 8, 8)
    calls = []
    model.bn.register_forward_hook(lambda m, i, o: calls.append("own"))
    before, names = bookkeeping(model), {p: set(vars(m)) for p, m in model.named_modules()}
    state = {k: v.clone() for k, v in model.state_dict().items()}
    with Capture(model) as run:
        assert bookkeeping(model) == before
        y = model(x)
    run.graph(y)
    assert calls == ["own"]
    assert bookkeeping(model) == before
    assert {p: set(vars(m)) for p, m in model.named_modules()} == names
    assert model.state_dict().keys() == state.keys()
    model.bn._forward_hooks.clear()
    pickle.loads(pickle.dumps(model))
    copy.deepcopy(model)


def test_capture_gives_back_buffers_and_random_state():
    model, x = Net(), torch.randn(4, 3, 8, 8)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    buffer, random_state = model.bn.running_mean, torch.get_rng_state()
    capture(model, (x,))
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert model.bn.running_mean is buffer
    assert torch.equal(torch.get_rng_state(), random_state)


def test_an_error_of_the_model_passes_unchanged():
    error = KeyError("theirs")

    class Raising(Net):
        def forward(self, x):
            super().forward(x)
            raise error

    model, x = Raising(), torch.randn(4, 3, 8, 8)
    before = bookkeeping(model)
    run = Capture(model)
    run.inputs((x,), {})
    with pytest.raises(KeyError) as caught, run:
        model(x)
    assert caught.value is error
    assert bookkeeping(model) == before
    seen = len(run.graph(None))
    model.conv(x)
    assert len(run.graph(None)) == seen


def test_an_error_of_ours_ends_the_recording_only(monkeypatch):
    real = Recorder.record

    def failing(self, func, args, kwargs, result):
        if len(self.drafts) == 3:
            raise RuntimeError("ours")
        real(self, func, args, kwargs, result)

    monkeypatch.setattr(Recorder, "record", failing)
    model, x = Net().eval(), torch.randn(4, 3, 8, 8)
    with Capture(model) as run:
        run.inputs((x,), {})
        y = model(x)
    assert torch.equal(y, model(x))
    graph = run.graph(y)
    assert len(graph) == 3
    assert "RuntimeError: ours" in graph.coverage.note


def test_no_activation_is_kept_alive():
    model, x = Net().eval(), torch.randn(4, 3, 8, 8)
    born = []
    model.bn.register_forward_hook(lambda m, i, o: born.append(weakref.ref(o.untyped_storage())))
    with torch.no_grad(), Capture(model) as run:
        run.inputs((x,), {})
        y = model(x)
        gc.collect()
        assert born[0]() is None
    run.graph(y)


def test_unseen_origin_is_admitted():
    class Closed(nn.Module):
        def forward(self, x):
            return torch.ones(3)

    graph = capture(Closed(), (torch.randn(2),))
    assert "1 output tensor(s)" in graph.coverage.note


def test_inert_while_pytorch_traces():
    class Traced(Net):
        def forward(self, x):
            with Capture(self) as run:
                y = super().forward(x)
            self.graph = run.graph(y)
            return y

    model, x = Traced().eval(), torch.randn(4, 3, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(model, x, check_trace=False)
    assert len(model.graph) == 0
    assert "torch.jit.trace" in model.graph.coverage.note
    assert torch.equal(traced(x), Net.forward(model, x))


def test_capture_does_not_import_the_compiler():
    code = (
        "import sys, torch; from normscope.graph.torch import capture;"
        "capture(torch.nn.BatchNorm1d(3), (torch.randn(4, 3),));"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # the compiler's own
def test_compiled_parts_of_a_model_stay_compiled():
    compiled = []

    def backend(module, inputs):
        compiled.append(module)
        return module.forward

    class Partly(Net):
        def __init__(self):
            super().__init__()
            self.fast = torch.compile(nn.Linear(5, 5), backend=backend, fullgraph=True)

        def forward(self, x):
            return self.fast(super().forward(x))

    graph = capture(Partly(), (torch.randn(4, 3, 8, 8),))
    assert len(compiled) == 1
    assert [n.path for n, _ in graph.norms()] == ["bn"]

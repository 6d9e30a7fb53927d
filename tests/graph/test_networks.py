"""Whole models: edges, module paths, the user's lines, and what coverage admits."""

import inspect
import warnings
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from normscope.graph.model import (
    Activation,
    Add,
    Affine,
    Cast,
    Concat,
    Input,
    Norm,
    Opaque,
    Output,
    View,
    dumps,
    loads,
)
from normscope.graph.torch import Capture, capture, tensors_of
from normscope.graph.torch.location import shown

IMAGE = torch.randn(2, 3, 8, 8)


def of(graph, kind):
    return [n for n in graph if isinstance(n.op, kind)]


def line(function, text):
    source, first = inspect.getsourcelines(function)
    return first + next(i for i, s in enumerate(source) if text in s)


class Block(nn.Module):
    def __init__(self, width, inplace=False):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace)
        self.inplace = inplace

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.inplace:
            y += x
        else:
            y = y + x
        return self.relu(y)


class Net(nn.Module):
    def __init__(self, inplace=False):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace))
        self.block = Block(8, inplace)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.block(self.stem(x)).mean((2, 3)))


def drawing(graph):
    """Everything but ids and lines."""
    at = {n.id: i for i, n in enumerate(graph)}
    return [(n.op, [at[i] for i in n.inputs], n.path, n.shape) for n in graph]


def test_residual_network():
    graph = capture(Net(), (IMAGE,), model_id=3)
    assert (graph.model, graph.training) == (3, True)
    assert graph.coverage == type(graph.coverage)()
    norms = {n.path: n for n, _ in graph.norms()}
    assert list(norms) == ["stem.1", "block.bn1", "block.bn2"]
    for path, conv in [("stem.1", "stem.0"), ("block.bn1", "block.conv1")]:
        feeder = graph.producer(norms[path])
        assert (feeder.path, type(feeder.op)) == (conv, Affine)
        assert graph.readers(feeder) == [norms[path]]
        [relu] = graph.readers(norms[path])
        assert relu.op == Activation("relu")
    [join] = graph.readers(norms["block.bn2"])
    assert (join.op, join.path) == (Add(), "block")
    assert [n.path for n in graph.inputs(join)] == ["block.bn2", "stem.2"]
    assert join.site.file == shown(__file__)
    assert join.site.line == line(Block.forward, "y = y + x")
    [output] = of(graph, Output)
    assert graph.producer(output).path == "head"
    assert dumps(loads(dumps(graph))) == dumps(graph)


def test_in_place_operations_draw_the_same_graph():
    torch.manual_seed(0)
    assert drawing(capture(Net(inplace=True), (IMAGE,))) == drawing(capture(Net(), (IMAGE,)))


def test_memory_format_changes_nothing():
    model = Net()
    expected = drawing(capture(model, (IMAGE,)))
    model = model.to(memory_format=torch.channels_last)
    found = drawing(capture(model, (IMAGE.to(memory_format=torch.channels_last),)))
    assert found == expected


def test_meta_device():
    with torch.device("meta"):
        model = Net()
        graph = capture(model, (torch.empty(2, 3, 8, 8),))
    assert drawing(graph) == drawing(capture(Net(), (IMAGE,)))


class Apply(nn.Module):
    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *args, **kwargs):
        return self.function(self, *args, **kwargs)


def test_shared_module_has_several_calls():
    def forward(m, x):
        return m.bn(F.relu(m.bn(x)))

    graph = capture(Apply(forward, bn=nn.BatchNorm2d(3)), (IMAGE,))
    [first, second] = [n for n, _ in graph.norms()]
    assert graph.calls(first) == [first, second]


def test_writing_through_a_view_changes_the_base():
    def forward(m, x):
        y = m.bn(x)
        y.view(2, -1).relu_()
        return m.conv(y)

    graph = capture(Apply(forward, bn=nn.BatchNorm2d(3), conv=nn.Conv2d(3, 3, 1)), (IMAGE,))
    [conv] = of(graph, Affine)
    back = graph.producer(conv)
    assert isinstance(back.op, View)
    assert graph.producer(back).op == Activation("relu")


def test_writing_a_part_is_opaque_and_other_parts_are_untouched():
    def forward(m, x):
        y = m.bn(x)
        left, right = y[:, :1], y[:, 1:]
        left.relu_()
        return m.conv(y), right

    graph = capture(Apply(forward, bn=nn.BatchNorm2d(3), conv=nn.Conv2d(3, 3, 1)), (IMAGE,))
    [conv] = of(graph, Affine)
    mixed = graph.producer(conv)
    assert mixed.op == Opaque("partial_write")
    assert {type(n.op) for n in graph.inputs(mixed)} == {Norm, Activation}
    assert graph.coverage.opaque == ("partial_write",)
    right = of(graph, Output)[1]
    assert isinstance(graph.producer(right).op, View)


def test_filling_a_prepared_tensor():
    def forward(m, x):
        out = torch.zeros(2, 6, 8, 8)
        out[:, :3] = m.bn(x)
        out[:, 3:] = x
        return out

    graph = capture(Apply(forward, bn=nn.BatchNorm2d(3)), (IMAGE,))
    [output] = of(graph, Output)
    joined = graph.producer(output)
    assert joined.op == Opaque("partial_write")
    assert len(joined.inputs) == 2


def test_autocast():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        graph = capture(model, (IMAGE,))
    [conv, linear] = of(graph, Affine)
    [(norm, _)] = graph.norms()
    assert graph.producer(norm) == conv
    assert (conv.op.bias, linear.op.bias) == (4, 2)
    assert [n.op.dtype for n in of(graph, Cast)] == ["bfloat16"]
    assert graph.producer(conv).op == Input()


def test_several_inputs_and_outputs():
    @dataclass
    class Pair:
        first: torch.Tensor
        rest: dict

    def forward(m, a, *, b):
        both = torch.cat([a, b["x"]], 1)
        return Pair(m.bn(both), {"a": [a * 2], "n": 3})

    model = Apply(forward, bn=nn.BatchNorm2d(6))
    graph = capture(model, (IMAGE,), {"b": {"x": torch.randn(2, 3, 8, 8)}})
    assert len(of(graph, Input)) == 2
    [joined] = of(graph, Concat)
    assert len(joined.inputs) == 2
    assert [type(graph.producer(o).op).__name__ for o in of(graph, Output)] == ["Norm", "Multiply"]


def test_tensors_of_survives_cycles_and_yields_each_once():
    class Holder:
        pass

    x, held = torch.ones(1), Holder()
    held.x, held.me, held.others = x, held, (x, {"y": torch.zeros(2)}, "text", None, nn.ReLU())
    assert [t.numel() for t in tensors_of([held, x])] == [1, 2]


def test_modules_in_plain_containers():
    class Hiding(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = [nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm2d(3))]
            self.heads = {"a": nn.BatchNorm2d(3)}

        def forward(self, x):
            return self.heads["a"](self.blocks[1](self.blocks[0](x)))

    paths = [n.path for n, _ in capture(Hiding(), (IMAGE,)).norms()]
    assert paths == ["blocks[0]", "blocks[1].0", "heads['a']"]


def test_norms_built_inside_forward():
    def forward(m, x):
        return nn.BatchNorm2d(3)(nn.BatchNorm2d(3)(m.part(x)))

    part = Apply(lambda m, x: nn.BatchNorm2d(3)(x))
    paths = [n.path for n, _ in capture(Apply(forward, part=part), (IMAGE,)).norms()]
    assert paths == ["part.BatchNorm2d()", "BatchNorm2d()", "BatchNorm2d()2"]


def test_branches_that_depend_on_data():
    def forward(m, x):
        return m.a(x) if x.mean() > 0 else m.b(x)

    model = Apply(forward, a=nn.BatchNorm2d(3), b=nn.BatchNorm2d(3))
    for x, ran, left in [(IMAGE.abs(), "a", "b"), (-IMAGE.abs(), "b", "a")]:
        graph = capture(model, (x,))
        assert [n.path for n, _ in graph.norms()] == [ran]
        assert graph.coverage.uncalled == (left,)


def test_parameters_that_another_module_reads_are_not_uncalled():
    graph = capture(nn.MultiheadAttention(8, 2, batch_first=True), (torch.randn(2, 5, 8),) * 3)
    assert graph.coverage.uncalled == ()


def test_checkpointing_draws_the_same_graph():
    class Checkpointed(Net):
        reentrant = False

        def forward(self, x):
            y = checkpoint(self.block, self.stem(x), use_reentrant=self.reentrant)
            return self.head(y.mean((2, 3)))

    expected = drawing(capture(Net(), (IMAGE,)))
    for reentrant in (False, True):
        model = Checkpointed()
        model.reentrant = reentrant
        assert drawing(capture(model, (IMAGE,))) == expected


def test_backward_inside_the_capture_is_not_part_of_the_graph():
    model = Net()
    with Capture(model) as run:
        run.inputs((IMAGE,), {})
        y = model(IMAGE)
        y.sum().backward()
    graph = run.graph(y)
    assert [n.path for n, _ in graph.norms()] == ["stem.1", "block.bn1", "block.bn2"]


def test_recurrent_model():
    def forward(m, x):
        return m.head(m.rnn(x)[0][:, -1])

    model = Apply(forward, rnn=nn.LSTM(4, 6, batch_first=True), head=nn.Linear(6, 2))
    graph = capture(model, (torch.randn(2, 5, 4),))
    assert graph.coverage.opaque
    assert not graph.coverage.uncalled
    assert [n.path for n in of(graph, Affine)] == ["head"]
    [output] = of(graph, Output)
    assert graph.producer(output).path == "head"


def test_linear_over_a_sequence_before_batch_norm():
    def forward(m, x):
        return m.bn(m.fc(x).transpose(1, 2))

    graph = capture(
        Apply(forward, fc=nn.Linear(4, 6), bn=nn.BatchNorm1d(6)), (torch.randn(2, 5, 4),)
    )
    [fc] = of(graph, Affine)
    [(norm, op)] = graph.norms()
    view = graph.producer(norm)
    assert (fc.op.axis, view.op.sources[op.axis]) == (2, (2,))
    assert graph.producer(view) == fc


def test_scripted_submodule():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))
    graph = capture(Apply(lambda m, x: m.part(x).relu(), part=scripted), (IMAGE,))
    [(norm, op)] = graph.norms()
    assert (op.channels, norm.path) == (4, "part")
    [relu] = graph.readers(norm)
    assert relu.op == Activation("relu")


def test_framework_modules_alone_are_located_at_the_call():
    graph = capture(nn.Sequential(nn.BatchNorm2d(3)), (IMAGE,))
    [(norm, _)] = graph.norms()
    here = test_framework_modules_alone_are_located_at_the_call
    assert (norm.site.file, norm.site.line) == (shown(__file__), line(here, "capture("))


def test_vmap_inside_forward():
    def forward(m, x):
        return m.head(torch.vmap(lambda row: row.sin() * 2)(x))

    graph = capture(Apply(forward, head=nn.Linear(4, 2)), (torch.randn(3, 4),))
    [output] = of(graph, Output)
    assert graph.producer(output).path == "head"


def test_norm_under_vmap_is_opaque():
    def forward(m, x):
        return torch.vmap(lambda part: F.batch_norm(part, None, None, training=True))(x)

    graph = capture(Apply(forward), (torch.randn(2, 4, 3, 5),))
    assert not list(graph.norms())
    assert "native_batch_norm" in graph.coverage.opaque


def test_shape_changed_in_place():
    model = Apply(lambda m, x: m.head(x.clone().t_()), head=nn.Linear(3, 2))
    graph = capture(model, (torch.randn(3, 5),))
    [head] = of(graph, Affine)
    assert graph.producer(head).op == View(((1,), (0,)))
    assert not graph.coverage.note


def test_constants_are_no_nodes():
    def forward(m, x):
        mask = torch.arange(8).float().softmax(0) + m.table
        return x * mask

    model = Apply(forward)
    model.register_buffer("table", torch.ones(8))
    graph = capture(model, (IMAGE,))
    assert [type(n.op).__name__ for n in graph] == ["Input", "Multiply", "Output"]

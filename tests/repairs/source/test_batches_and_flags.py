"""Short batches left out of a loop over own batches, and `train()` inside a module that hands the mode on."""

from __future__ import annotations

from textwrap import dedent

import pytest

from normscope.finding import Finding, Remedy
from normscope.graph.model import Site
from normscope.record.recording import Call, Layer, Model, Pattern, Recording, Span
from normscope.record.written import Member, Place, Written
from normscope.repairs.source.advice import edited
from normscope.repairs.source.edits import FollowMode, LeaveOut, Refusal, RefusedError, SetKeyword
from normscope.repairs.source.proposals import proposals
from repairs.source.marked import LOADER, place


def left_out(source: str, least: int = 8) -> str:
    data = dedent(source).lstrip().encode()
    return edited(data, [LeaveOut(place(data, "net"), least)]).decode()


def following(source: str) -> str:
    """The norm is called in the line that is marked."""
    source = dedent(source).lstrip()
    line = next(i for i, text in enumerate(source.splitlines(), 1) if "# here" in text)
    return edited(source.encode(), [FollowMode(Place("a.py", line, line, 0, 0))]).decode()


def test_a_short_batch_is_left_out_before_the_forward() -> None:
    found = left_out("""
        for epoch in range(3):
            for a, b in batches():
                with autocast:
                    # the loss
                    loss = criterion(net(a), b)
        """)
    assert found == dedent("""
        for epoch in range(3):
            for a, b in batches():
                with autocast:
                    if len(a) < 8:
                        continue
                    # the loss
                    loss = criterion(net(a), b)
        """).lstrip()  # fmt: skip


@pytest.mark.parametrize(
    ("argument", "told"),
    [("x[rows]", "len(x[rows]) < 5"), ("batch['x']", "len(batch['x']) < 5"), ("a, mask", "len(a) < 5"), ("x=a.values", "len(a.values) < 5")],
)  # fmt: skip
def test_what_holds_the_samples(argument: str, told: str) -> None:
    assert told in left_out(f"while True:\n    net({argument})\n", 5)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def step(a):\n    net(a)\nfor a in batches: step(a)\n", "not in this function"),
        ("for a in batches:\n    net(a.to(device))\n", "is computed in the call"),
        ("for a in batches:\n    net(*a)\n", "is not known"),
        ("for a in batches:\n    a = net(a)\n", "is another object after it"),
        ("net(a)\n", "not in this function"),
    ],
)
def test_loops_that_are_not_understood(source: str, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        left_out(source)


def test_train_inside_forward_follows_the_mode() -> None:
    found = following("""
        class Net(nn.Module):
            def forward(this, x):
                this.norm.train()
                this.other.train(False)
                return this.norm(x)  # here

        def train():
            net.train()
        """)
    assert "this.norm.train(this.training)" in found
    assert "this.other.train(False)" in found
    assert "    net.train()\n" in found


def test_an_own_train_method_hands_its_argument_on() -> None:
    found = following("""
        class Backbone(nn.Sequential):
            def train(self, on=True):
                super().train(on)
                for m in self.modules():
                    m.train(True)
                return self

        net(x)  # here
        """)
    assert "m.train(on)" in found
    assert "super().train(on)" in found


def test_nothing_that_fixes_the_mode() -> None:
    for source in (
        "def forward(x):\n    return norm(x)  # here\n",
        "def run():\n    net.train()\n    net(x)  # here\n",  # no method: it trains
        "class A:\n    def train(self):\n        self.b.train()\n\n\nnet(x)  # here\n",  # no mode
    ):
        with pytest.raises(RefusedError, match="was seen to fix the mode"):
            following(source)


def run(*sizes: int, values: int = 1, line: int = 7, loader: int | None = None) -> Recording:
    """Training forwards of these sizes in one line, of values for each sample and channel; a loader of that batch size."""
    r = Recording(
        models={0: Model(id=0, name="Net", norm_layers=1)},
        layers={0: Layer(id=0, model=0, path="1", type="BatchNorm1d")},
        file="train.nscope",
    )
    at = Place("train.py", line, line, 0, 9)
    for i, n in enumerate(sizes):
        call = Call(0, True, True, n, n * values)
        r.patterns[i] = Pattern(i, 0, True, (call,), Site("train.py", line))
        r.spans.append(Span(pattern=i, kind="training", first_step=i, last_step=i + 1, forwards=1))
    r.written.append(Written(id=1, kind="forward", place=at, members=(Member(0, ""),)))
    if loader is not None:
        at = Place("train.py", 3, 3, 0, 9)
        made = Written(
            id=2, kind="loader", place=at, parameters=LOADER, batch_size=loader, passes=1
        )
        r.written.append(made)
    return r


def proposed(recording: Recording, code: str = "NS302", command: str = "drop_last=True") -> object:
    remedy = Remedy("it", "changes-function", f"`DataLoader(..., {command})`")
    finding = Finding("", "error", model="Net", layers=("1",), repairs=(remedy,), code=code)
    [one] = proposals(finding, recording)
    return one


def test_own_batches_are_left_out_where_others_are_larger() -> None:
    assert proposed(run(32, 32, 2)) == LeaveOut(Place("train.py", 7, 7, 0, 9), 8)
    assert proposed(run(32, 32, 1, values=4)) == LeaveOut(Place("train.py", 7, 7, 0, 9), 2)
    for sizes in ((1, 1, 1), (2, 2, 1), ()):
        refused = proposed(run(*sizes))
        assert isinstance(refused, Refusal)
        assert refused.where == "train.py:7"
        assert "that your own code makes come in here: cut the data into larger ones" in str(
            refused
        )


def test_a_loader_of_single_samples_that_failed_at_once_gets_larger_batches() -> None:
    edit = proposed(run(loader=1))
    assert isinstance(edit, SetKeyword)
    assert (edit.place.line, edit.keyword, edit.value) == (3, "batch_size", "16")
    assert isinstance(proposed(run(loader=4)), Refusal)


def test_own_batches_in_order_are_told_where_they_come_in() -> None:
    refused = proposed(run(32, 32), "NS304", "shuffle=True")
    assert isinstance(refused, Refusal)
    assert refused.where == "train.py:7"
    assert "torch.randperm" in refused.reason

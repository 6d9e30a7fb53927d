"""`eval()` and `train()` put beside the right block."""

from __future__ import annotations

from textwrap import dedent

import pytest

from normscope.repairs.source.advice import edited
from normscope.repairs.source.edits import EvaluationMode, RefusedError, TrainingMode
from repairs.source.marked import place


def lines_with(source: str, mark: str) -> frozenset[int]:
    return frozenset(i for i, line in enumerate(source.splitlines(), 1) if mark in line)


def evaluated(source: str, call: str = "net", *, restore: bool = False) -> str:
    """With `eval()` for the last call of the model; lines marked `# trains` are its training forwards."""
    source = dedent(source).lstrip()
    data = source.encode()
    n = source.count(f"{call}(") - 1
    edit = EvaluationMode(place(data, call, n), restore, lines_with(source, "# trains"))
    after = edited(data, [edit])
    return after.decode()


def trained(source: str, call: str = "net") -> str:
    """With `train()` for the first call of the model; lines marked `# evaluates` evaluate it."""
    source = dedent(source).lstrip()
    data = source.encode()
    edit = TrainingMode(place(data, call), lines_with(source, "# evaluates"))
    return edited(data, [edit]).decode()


def same(found: str, expected: str) -> None:
    assert found == dedent(expected).lstrip()


def test_before_the_block_without_gradients() -> None:
    same(
        evaluated("""
            def train():
                net(x)  # trains

            def accuracy():
                hits = 0
                # every digit
                with torch.no_grad():
                    for digit in range(10):
                        hits += (net(x[digit]).argmax(1) == digit).sum()
                return hits

            for epoch in range(3):
                train()
                print(accuracy())
            """),
        """
            def train():
                net(x)  # trains

            def accuracy():
                hits = 0
                net.eval()
                # every digit
                with torch.no_grad():
                    for digit in range(10):
                        hits += (net(x[digit]).argmax(1) == digit).sum()
                return hits

            for epoch in range(3):
                train()
                print(accuracy())
            """,
    )


def test_not_around_what_trains_through_a_function() -> None:
    same(
        evaluated(
            """
            def train():
                net(x)  # trains

            for epoch in range(3):
                train()
                for x, y in test:
                    total += loss(net(x), y)
            """,
            restore=True,
        ),
        """
            def train():
                net(x)  # trains

            for epoch in range(3):
                train()
                net.eval()
                for x, y in test:
                    total += loss(net(x), y)
                net.train()
            """,
    )


def test_a_loop_over_models_is_not_left() -> None:
    same(
        evaluated("""
            for name, net in nets.items():
                with torch.no_grad():
                    print(name, net(x))
            """),
        """
            for name, net in nets.items():
                net.eval()
                with torch.no_grad():
                    print(name, net(x))
            """,
    )


def test_an_attribute_of_a_method() -> None:
    same(
        evaluated(
            """
            class Trainer:
                def validate(self):
                    for x in self.data:
                        self.scores.append(self.model(x))
            """,
            "self.model",
        ),
        """
            class Trainer:
                def validate(self):
                    self.model.eval()
                    for x in self.data:
                        self.scores.append(self.model(x))
            """,
    )


def test_back_in_training_mode_before_a_return() -> None:
    same(
        evaluated(
            """
            def predict(x):
                with torch.no_grad():
                    return net(x).argmax(1)
            """,
            restore=True,
        ),
        """
            def predict(x):
                with torch.no_grad():
                    net.eval()
                    try:
                        return net(x).argmax(1)
                    finally:
                        net.train()
            """,
    )


def test_the_smaller_block_where_the_larger_returns() -> None:
    same(
        evaluated(
            """
            def predict(x):
                with torch.no_grad():
                    out = net(x)
                    return out.argmax(1)
            """,
            restore=True,
        ),
        """
            def predict(x):
                with torch.no_grad():
                    net.eval()
                    out = net(x)
                    net.train()
                    return out.argmax(1)
            """,
    )


def test_only_where_the_branch_is_taken() -> None:
    same(
        evaluated("""
            for step, x in enumerate(data):
                net(x)  # trains
                if step % 10 == 0:
                    with torch.no_grad():
                        print(net(t))
            """),
        """
            for step, x in enumerate(data):
                net(x)  # trains
                if step % 10 == 0:
                    net.eval()
                    with torch.no_grad():
                        print(net(t))
            """,
    )


def test_a_slice_is_cut_from_a_module() -> None:
    found = evaluated("f = normal(model.encoder[:8](x), dim=1)\n", "model.encoder[:8]")
    assert found == "model.encoder.eval()\nf = normal(model.encoder[:8](x), dim=1)\n"
    assert evaluated("print(nets[0](x))\n", "nets[0]") == "nets[0].eval()\nprint(nets[0](x))\n"


def test_twice_changes_nothing_more() -> None:
    once = evaluated("for x in data:\n    print(net(x))\n", restore=True)
    assert evaluated(once, restore=True) == once


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("predict = lambda x: net(x)\n", "inside a `lambda`"),
        ("print([net(x) for net in nets])\n", "variable of a comprehension"),
        ("print(y); net(x), net(x)  # trains\n", "the same statement trains"),
    ],
)
def test_refused(source: str, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        evaluated(source)


def test_what_is_called_must_have_a_name() -> None:
    source = b"build()(x)\n"
    at = place(source, "build()")
    with pytest.raises(RefusedError, match="which is no name"):
        edited(source, [EvaluationMode(at, restore=False)])


def test_training_mode_before_the_loop_over_batches() -> None:
    same(
        trained("""
            net.train()
            for epoch in range(9):
                # one pass
                for x, y in batches:
                    loss(net(x), y).backward()
                evaluate()

            def evaluate():
                net.eval()
            """),
        """
            net.train()
            for epoch in range(9):
                net.train()
                # one pass
                for x, y in batches:
                    loss(net(x), y).backward()
                evaluate()

            def evaluate():
                net.eval()
            """,
    )


def test_training_mode_at_every_step_where_the_loop_evaluates() -> None:
    same(
        trained("""
            for epoch in range(9):
                for step, x in enumerate(batches):
                    loss(net(x)).backward()
                    if step % 10 == 0:
                        validate()

            def validate():
                return net(t)  # evaluates
            """),
        """
            for epoch in range(9):
                for step, x in enumerate(batches):
                    net.train()
                    loss(net(x)).backward()
                    if step % 10 == 0:
                        validate()

            def validate():
                return net(t)  # evaluates
            """,
    )


def test_training_mode_in_a_method() -> None:
    same(
        trained(
            """
            class Engine:
                def fit(self, data):
                    for x in data:
                        self.net(x)
            """,
            "self.net",
        ),
        """
            class Engine:
                def fit(self, data):
                    self.net.train()
                    for x in data:
                        self.net(x)
            """,
    )

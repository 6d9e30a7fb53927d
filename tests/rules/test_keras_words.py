"""What any rule says reads as a Keras user knows it, when the model is of Keras."""

import re

import pytest

from normscope import catalogue, engine
from normscope.concepts.keras_words import in_keras, told
from normscope.evidence import of_recording
from normscope.finding import Finding, Remedy
from normscope.record.story import story
from normscope.rule import Faulty

from .test_rules import CASES, evidence

PYTORCH = re.compile(
    r"torch|\bnn\.|\bF\.|\beval\(\)|\btrain\(\)|\brunning\b|running_|[^_]bias=False|ModuleList|ModuleDict|DataLoader|get_submodule"
    r"|requires_grad|state_dict|\beps\b|\bbuffers|add_param_group|lerp|\.float\(|\bchildren\b|in `forward`|inplace"
)


FAULTY = [
    p for p in CASES if isinstance(p.values[1], Faulty) and p.values[0].code != "NS705"
]  # which speaks of both


@pytest.mark.parametrize(("rule", "case"), FAULTY)
def test_no_word_of_pytorch_is_left(rule, case):
    found, _ = engine.run([rule], evidence(case))
    for f in map(in_keras, found):
        for text in (f.message, *(r.command for r in f.repairs), *(m.name for m in f.measured)):
            assert not PYTORCH.search(text), text


@pytest.mark.parametrize(
    ("pytorch", "keras"),
    [
        ("momentum=0.01", "momentum=0.99"),
        ("Use momentum=0.1.", "Use momentum=0.9."),
        (
            "`a` has momentum=0.99, in PyTorch the weight of the new batch: …",
            "`a` has momentum=0.01, in Keras the weight of the old average, so that a new batch has α = 0.99: …",
        ),
        (
            "`a` has momentum=0, in PyTorch the weight of the new batch: …",
            "`a` has momentum=1, in Keras the weight of the old average, so that a new batch has α = 0: …",
        ),
        ("Momentum 0.1 acts as 0.57", "Momentum 0.9 (α = 0.1) acts as 0.57"),
        ("eps=1e-12 and a step", "epsilon=1e-12 and a step"),
        ("`running_mean` of running statistics", "`moving_mean` of moving statistics"),
        ("the run is running", "the run is running"),
        ("bias=False", "use_bias=False"),
    ],
)
def test_phrases(pytorch, keras):
    assert told(pytorch) == keras


def test_a_repair_names_the_layer_as_the_model_gives_it():
    [repair] = in_keras(
        Finding(
            "…",
            layers=("block/norm",),
            code="NS501",
            repairs=(Remedy("reset the statistics", "changes-function", "x"),),
        )
    ).repairs
    assert repair.command.startswith('model.get_layer("norm").moving_mean.assign(')


@pytest.mark.parametrize(
    ("trainable", "command"),
    [
        (True, "`model(x, training=True)` in the training step"),
        (False, '`model.get_layer("a").trainable = True`, then `compile` again'),
    ],
)
def test_a_layer_that_trained_on_initial_statistics_was_called_without_training_or_frozen(
    trainable, command
):
    run = f"layer a fresh_at_end=True trainable={trainable}; train a mode=eval x100; infer a mode=eval"
    [found], _ = engine.run([catalogue.rule_of("NS404")], of_recording(story(run)))
    [repair] = in_keras(found).repairs
    assert repair.command == command

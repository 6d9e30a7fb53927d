"""Roles are told by what models do, never by what they are called."""

from __future__ import annotations

import pytest

from normscope.record.recording import Layer, Model, Pattern, Recording, Span
from normscope.record.roles import roles

STEPS = 100


def recording(*models, training=None, beside=None, layers=()):
    """A run of `STEPS` steps: training forwards and inference forwards during training, by model."""
    made = Recording(steps=STEPS, models={m.id: m for m in models})
    made.layers = {x.id: x for x in layers}
    for kind, counts in (("training", training or {}), ("inference", beside or {})):
        for model, forwards in counts.items():
            pattern = Pattern(len(made.patterns), model, True, ())
            made.patterns[pattern.id] = pattern
            made.spans.append(
                Span(
                    pattern=pattern.id,
                    kind=kind,
                    first_step=0,
                    last_step=STEPS - 1,
                    forwards=forwards,
                )
            )
    return made


def model(number, **facts):
    return Model(id=number, name="Net", **facts)


STEPPED = {"optimized": True, "parameters_changed": True}
STILL = {"parameters_changed": False}
FOLLOWS = {"parameters_changed": True, "copy_of": 0}


def test_one_model_that_is_stepped():
    assert roles(recording(model(0, **STEPPED), training={0: STEPS})) == {0: "trained"}


def test_a_generator_and_the_discriminator_that_sees_real_data_too():
    made = recording(
        model(0, **STEPPED, feeds=(1,)), model(1, **STEPPED), training={0: STEPS, 1: 3 * STEPS}
    )
    assert roles(made) == {0: "generator", 1: "discriminator"}


def test_two_halves_of_one_network_are_none():
    made = recording(
        model(0, **STEPPED, feeds=(1,)), model(1, **STEPPED), training={0: STEPS, 1: STEPS}
    )
    assert roles(made) == {0: "encoder", 1: "trained"}


@pytest.mark.parametrize(
    ("facts", "running", "role"),
    [
        (FOLLOWS, {"beside": {1: STEPS}}, "momentum encoder"),
        (FOLLOWS, {"beside": {1: 4}}, "averaged copy"),
        (FOLLOWS, {}, "averaged copy"),
        (STILL, {"beside": {1: STEPS}}, "teacher"),
        (STILL, {"beside": {1: 4}}, "used"),
        (STILL | {"feeds": (0,)}, {"beside": {1: STEPS}}, "frozen backbone"),
        ({"parameters_changed": True}, {}, "trained"),
    ],
)
def test_a_second_model_that_no_optimizer_steps(facts, running, role):
    made = recording(model(0, **STEPPED), model(1, **facts), training={0: STEPS}, **running)
    assert roles(made)[1] == role


def test_a_copy_that_was_called_before_its_original():
    made = recording(
        model(0, parameters_changed=True),
        model(1, **STEPPED, copy_of=0),
        training={1: STEPS},
        beside={0: STEPS},
    )
    assert roles(made) == {0: "momentum encoder", 1: "trained"}


def test_a_target_is_given_whole_states_again_and_again():
    layer = Layer(id=0, model=1, path="norm", type="BatchNorm1d", loaded="complete", loaded_step=40)
    made = recording(
        model(0, **STEPPED),
        model(1, **FOLLOWS),
        training={0: STEPS},
        beside={1: STEPS},
        layers=[layer],
    )
    assert roles(made)[1] == "target network"


def test_gradients_pass_through_a_loss_network():
    made = recording(
        model(0, **STEPPED, feeds=(1,)), model(1, **STILL), training={0: STEPS, 1: STEPS}
    )
    assert roles(made)[1] == "loss network"


def test_a_model_that_never_ran_is_only_used():
    assert roles(recording(model(0), training={})) == {0: "used"}

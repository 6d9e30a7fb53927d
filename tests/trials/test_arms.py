"""How arms are written, and what is no arm."""

from __future__ import annotations

import pytest

from normscope.errors import NormscopeError
from normscope.repairs.conversion.groups import usual_groups
from normscope.trials.arms import AS_IS, Arm, arms_of, drawn


def names(text: str) -> list[str]:
    return [a.name for a in arms_of(text)]


def test_the_unchanged_script_is_always_there_and_first():
    assert names("group") == ["as-is", "group"]
    assert names("group,as-is,layer") == ["as-is", "group", "layer"]


def test_each_arm_once():
    assert names("group, group ,ghost,ghost:32") == ["as-is", "group", "ghost"]
    assert names("group,group:32") == ["as-is", "group", "group:32"]


def test_groups_where_no_number_is_asked_for():
    found = [usual_groups(c) for c in (4, 8, 16, 64, 256, 2048)]
    assert found == [1, 1, 2, 8, 32, 32]


def test_values_and_defaults():
    assert arms_of("ghost")[1] == Arm("ghost", 32)
    assert names("ghost:16,frozen-tail:0.1,momentum:0.01,batch:64,lr:x0.3,wd:0,lr:×2,lr:1e-2") == [
        "as-is",
        "ghost:16",
        "frozen-tail:0.1",
        "momentum:0.01",
        "batch:64",
        "lr:x0.3",
        "wd:x0",
        "lr:x2",
        "lr:x0.01",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "something to compare"),
        ("as-is", "something to compare"),
        ("gruop", "Did you mean `group`"),
        ("momentum", "needs a value, as in `momentum:0.01`"),
        ("layer:4", "takes no value"),
        ("lr:much", "a number was expected, as in `lr:x0.3`"),
        ("lr:", "a number was expected"),
        ("lr:-1", "a number was expected"),
        ("lr:x0", "a factor above 0 was expected"),
        ("group:2.5", "a whole number of groups"),
        ("ghost:1", "at least 2 was expected"),
        ("frozen-tail:1", "a share between 0 and 1"),
        ("momentum:0", "above 0 and at most 1"),
        ("batch:0", "at least 1 was expected"),
        ("group:1e400", "expected"),
    ],
)
def test_what_is_no_arm(text, said):
    with pytest.raises(NormscopeError, match=said) as told:
        arms_of(text)
    assert "\n" not in str(told.value)


def test_chance_draws_every_arm_and_never_the_unchanged_script():
    arms = arms_of("group,layer,none,random")
    found = [drawn(arms, seed) for seed in range(6)]
    assert {a.kind for a in found} == {"group", "layer", "none"}
    assert found == [drawn(arms, seed) for seed in range(6)]
    with pytest.raises(NormscopeError, match="other arms"):
        drawn(arms_of("random"), 0)
    assert AS_IS not in {a.kind for a in found}

"""What a claim says of normscope is so: rules, repairs, probes and arms have these names, and thresholds stand in the rules as told."""

from __future__ import annotations

import re
from importlib import import_module

import pytest

from normscope import catalogue
from normscope.lab import table
from normscope.lab.advice import PARTS
from normscope.repairs.table import REPAIRS
from normscope.trials.arms import arms_of

NAMED = {r.code: r.name for r in catalogue.rules()}


@pytest.mark.parametrize("name", table.NAMES)
def test_rules_have_these_codes_and_names(name):
    rests = table.of_name(name).rests
    told = re.findall(r"(NS\d{3})(?: ([a-z]+(?:-[a-z]+)+))?", rests)
    for code, called in told:
        assert code in NAMED
        assert called in ("", NAMED[code])
    if not told:
        assert re.search(r"[Nn]o rule", rests)


def test_repairs_and_arms_have_these_names():
    """Every word in backquotes of what rests on claims."""
    words = {w for n in table.NAMES for w in re.findall(r"`([^`]+)`", table.of_name(n).rests)}
    probes = {w for w in words if w in ("batch_size", "regularization")}
    for probe in probes:
        import_module(f"normscope.probes.{probe}")
    arms = {w for w in words if w in ("none", "lr:x0.3")}
    assert len(arms_of(",".join(sorted(arms)))) >= len(arms)
    for word in words - probes - arms:
        assert word.removeprefix("normscope repair ") in REPAIRS, word


# The claim, where the threshold stands, and the words that tell it.
THRESHOLDS = [
    ("small-batch", "batches.small_batch:ENOUGH", "silent from {}"),
    ("batch-32", "batches.small_batch:ENOUGH", "silent from {} images"),
    ("addition-order", "structure.batchnorm_on_skip_path:MANY", "from {} norms on the skip path"),
    ("gradient-depth", "structure.plain_deep_batchnorm:DEEP", "more than {} norms"),
    ("gradient-depth", "structure.plain_deep_batchnorm:FAR", "a ratio above {:g}"),
    ("depth-trainability", "structure.plain_deep_batchnorm:DEEP", "beyond {} norms"),
    ("depth-trainability", "structure.plain_deep_batchnorm:FAR", "more than {:g} times"),
    ("dropout-order", "structure.dropout_before_batchnorm:RATE", "from {} on"),
    ("dropout-order", "structure.dropout_before_batchnorm:LOW", "outside [{}"),
    ("dropout-order", "structure.dropout_before_batchnorm:HIGH", ", {}]"),
    ("identity", "settings.epsilon_out_of_range:LARGE", "ε ≥ {}"),
    ("momentum", "settings.slow_running_average:LEFT", "more than {:.0%}"),
    ("momentum", "settings.momentum_convention:HIGH", "{} or more"),
    ("overwritten-gamma", "settings.reinitialized_gamma:SMALL", "below {}"),
    ("zero-gamma", "settings.zero_gamma_on_plain_path:ALL", "at least {:.0%}"),
    ("positive-share", "signal.dead_channels:MOST", "from {:.0%}"),
    ("skewed-features", "signal.unscaled_input:LARGE", "above {:g}"),
    ("recurrent", "structure.batchnorm_in_recurrence:MEANS", "less than {} standard deviations"),
    ("over-regularization", "measured.over_regularized:HIGH", "at least {:.0%}"),
]


@pytest.mark.parametrize(("name", "where", "words"), THRESHOLDS)
def test_thresholds_are_those_of_the_rules(name, where, words):
    module, _, constant = where.partition(":")
    value = getattr(import_module(f"normscope.rules.{module}"), constant)
    told = words.format(value).replace("%", " %")
    assert told in table.of_name(name).rests


def test_every_claim_is_part_of_the_advice():
    """A reader of the guide misses none, but for those that are about the tool or about arithmetic."""
    used = {name for part in PARTS for advice in part.advice for name, _ in advice.grounds}
    assert used <= set(table.NAMES)
    assert set(table.NAMES) - used == {"identity", "one-operation"}

"""NS205's proposal where a tiny eps meets a constant channel: by the variances of the channels that vary."""

from __future__ import annotations

import numpy as np
import pytest

from normscope.record.story import story
from normscope.rules.settings.epsilon_out_of_range import (
    epsilon_out_of_range,
    varying_variance,
)

TOLD = "layer a eps=1e-12; train a x100; poll a 90 running_var_min=0 running_var_max=1"


def proposed(variances: list[float]) -> tuple[str, str]:
    recording = story(TOLD + "; channels a mean=0.0 var=0.0")
    [layer] = recording.layers
    recording.channels[layer].running_var = np.array(variances)
    [finding] = epsilon_out_of_range.check(recording)
    [repair] = finding.repairs
    return repair.command, finding.message


@pytest.mark.parametrize(
    ("variances", "eps"),
    [
        ([0.0, 0.04, 0.05, 0.06], "eps=0.005"),  # a tenth of the median of those that vary
        ([0.0, 0.0, 0.0, 0.05], "eps=0.005"),  # however many are constant
        ([0.0, 3.0, 4.0], "eps=0.01"),  # no published setting is larger
        ([0.0, 0.0], "eps=1e-05"),  # nothing tells a scale
        ([0.0, 1e-5, 1e-5], "eps=1e-05"),  # never below the default
    ],
)
def test_the_proposal(variances: list[float], eps: str) -> None:
    assert proposed(variances)[0] == eps


def test_the_message_tells_what_the_default_would_leave() -> None:
    _, message = proposed([0.0, 0.04, 0.05, 0.06])
    assert "comes out as 3 standard deviations, with PyTorch's 1e-05 as 71." in message


def test_rounding_noise_is_no_variance() -> None:
    assert varying_variance(np.array([3e-10, 0.2, 0.4, 0.6])) == 0.4
    assert varying_variance(np.array([3e-10])) is None
    assert varying_variance(None) is None

"""Faulty twins with the edits that are proposed for them: the finding is gone, and the figure is the healthy twin's."""

from __future__ import annotations

import pytest
from twins.cases import Case, cases
from twins.mended import mend
from twins.warm import warm

# Where the proposed edit mends; the first ones are run by `make test`.
QUICK = ("ns205_momentum_in_second_place", "ns401_per_digit_report")
SLOW = (
    "ns111_config_flag",
    "ns201_port_fine_tuned",
    "ns111_one_image_for_each_call",
    "ns111_train_in_forward",
    "ns111_train_override_keeps_norms_on",
    "ns201_keras_momentum",
    "ns202_norm_over_time_steps",
    "ns202_published_decay",
    "ns202_short_run",
    "ns202_signal_regression",
    "ns205_layer_norm_second_argument",
    "ns302_batches_by_length",
    "ns302_one_at_a_time",
    "ns302_outlier_in_the_tail",
    "ns302_single_row_crash",
    "ns304_sorted_folders",
    "ns401_agent_acts_in_train_mode",
    "ns401_batch_size_sweep",
    "ns401_compiled_module",
    "ns401_head_of_plain_python",
    "ns401_nearest_neighbours",
    "ns401_pair_verification",
    "ns401_stream_of_one_sensor",
    "ns401_validate_back_to_train",
    "ns402_eval_after_first_epoch",
    "ns402_loop_over_an_engine",
    "ns402_mid_epoch_validation",
)
# Where a line cannot do it, and the advice says why.
REFUSED = {
    "ns401_monte_carlo_dropout": "as Monte Carlo dropout does",
    "ns401_few_shot_episodes": "this line trains the model, too",
    "ns401_traced_before_eval": "call `eval()` before the tracing",
    "ns302_image_pooling_branch": "cut the data into larger ones where they are made",
    "ns111_functional_network": "hand the mode on as an argument",
}


def chosen(names: tuple[str, ...]) -> list[Case]:
    by_name = {c.path.parent.name: c for c in cases() if c.rule is not None}
    return [by_name[name] for name in names]


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    warm()


def check(case: Case) -> None:
    mended = mend(case)
    assert mended.edited is not None, mended.refused
    assert not mended.edited.error, mended.edited.error
    assert case.rule not in mended.edited.codes, mended.diff
    assert mended.restored, (mended.figure, mended.diff)


@pytest.mark.parametrize("case", chosen(QUICK), ids=lambda c: c.path.parent.name)
def test_the_edit_mends(case: Case) -> None:
    check(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", chosen(SLOW), ids=lambda c: c.path.parent.name)
def test_the_edit_mends_this_too(case: Case) -> None:
    check(case)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "reason"), REFUSED.items(), ids=REFUSED)
def test_the_edit_is_refused(name: str, reason: str) -> None:
    [case] = chosen((name,))
    mended = mend(case)
    assert mended.edited is None
    assert reason in " ".join(mended.refused)

"""The purse: measurements are paid for out of a share of the loop's own time."""

from __future__ import annotations

import pytest

from normscope.record import schedule as module
from normscope.record.schedule import CREDIT, RESERVED, UNSEEN, Schedule


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    return now


def test_a_credit_at_the_start(clock: list[float]) -> None:
    schedule = Schedule(0.01)
    assert schedule.loop == 0.0
    assert schedule.affords(CREDIT / UNSEEN)
    assert not schedule.affords(CREDIT / UNSEEN * 1.01)


def test_the_purse_fills_with_the_loop(clock: list[float]) -> None:
    schedule = Schedule(0.01)
    schedule.begin()
    clock[0] += 50.0
    assert schedule.loop == 50.0
    assert schedule.affords((CREDIT + 0.499) / UNSEEN)
    assert not schedule.affords((CREDIT + 0.501) / UNSEEN)


def test_measuring_and_book_keeping_empty_it(clock: list[float]) -> None:
    schedule = Schedule(0.01)
    schedule.begin()
    clock[0] += 50.0
    schedule.charge(0.2 / UNSEEN, measuring=True)
    schedule.charge(0.1 / UNSEEN)
    assert schedule.affords((CREDIT + 0.199) / UNSEEN)
    assert not schedule.affords((CREDIT + 0.201) / UNSEEN)


def test_book_keeping_cannot_use_up_what_is_reserved(clock: list[float]) -> None:
    schedule = Schedule(0.01)
    schedule.begin()
    clock[0] += 50.0
    schedule.charge(40.0)
    assert schedule.affords((CREDIT + RESERVED * 0.5 - 0.001) / UNSEEN)
    assert not schedule.affords((CREDIT + RESERVED * 0.5 + 0.001) / UNSEEN)


def test_start_up_is_outside_the_loop(clock: list[float]) -> None:
    schedule = Schedule(0.01)
    schedule.charge_startup(3.0)
    schedule.begin()
    clock[0] += 2.0
    schedule.charge_startup(2.0)  # the capture of a graph
    clock[0] += 10.0
    schedule.begin()  # only the first counts
    assert schedule.loop == 10.0
    schedule.charge(0.5)
    cost = schedule.cost(probing=7.0)
    assert (cost.budget, cost.startup, cost.probing) == (0.01, 5.0, 7.0)
    assert (cost.loop, cost.observing) == (10.0, 0.5 * UNSEEN)
    assert cost.overhead == pytest.approx(0.5 * UNSEEN / (10 - 0.5 * UNSEEN))


@pytest.mark.parametrize("budget", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("price", [1e-5, 1e-3])
def test_measurements_stay_within_the_budget(
    clock: list[float], budget: float, price: float
) -> None:
    """A loop that measures whenever it may, over 10,000 steps of 10 ms."""
    schedule = Schedule(budget)
    schedule.begin()
    taken = 0
    for _ in range(10_000):
        clock[0] += 0.01
        schedule.charge(2e-6)  # book-keeping
        if schedule.affords(price):
            taken += 1
            clock[0] += price
            schedule.charge(price, measuring=True)
    spent = schedule.measuring - CREDIT
    assert (
        spent <= budget * schedule.loop - (schedule.observing - schedule.measuring) + UNSEEN * price
    )
    # And it is used: all steps, or what the budget buys beside 0.02 s of book-keeping.
    assert taken >= min(10_000, 0.9 * (budget * 100 / UNSEEN - 0.02) / price)

"""The clock of the probes: the thread's own time, and a part of the time that it waits."""

from normscope.probes import clock


class Times:
    wall = 100.0
    own = 7.0


def test_work_counts_whole_and_waiting_a_quarter(monkeypatch):
    times = Times()
    monkeypatch.setattr(clock, "perf_counter", lambda: times.wall)
    monkeypatch.setattr(clock, "thread_time", lambda: times.own)
    now = clock._Clock()
    began = now()
    times.wall, times.own = 102.0, 9.0
    assert now() - began == 2.0
    times.wall, times.own = (
        110.0,
        10.0,
    )  # eight seconds, one of them at work: others had the machine
    assert now() - began == 4.0
    times.own = 1.0  # another thread asks
    assert now() - began == 4.0

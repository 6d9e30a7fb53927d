"""Whole trials of scripts: the plain run is untouched, runs are kept, and every end of a run is a result."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time

import pytest

BIT = """
    import random, numpy, torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset
    torch.manual_seed(3); numpy.random.seed(4); random.seed(5)
    x = torch.randn(40, 6); y = (x[:, 0] > 0).long()
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for a, b in DataLoader(TensorDataset(x, y), 8, shuffle=True):
        loss = nn.functional.cross_entropy(model(a), b)
        optimizer.zero_grad(); loss.backward(); optimizer.step()
    print("noise", random.random(), numpy.random.rand(), torch.rand(1).item())
    print(f"loss={loss.item():.17g}")
    torch.save(model.state_dict(), "weights.pt")
"""
# No framework: starts in no time. The metric moves with the seed; `lr:x1` is not applicable without an optimizer.
DICE = """
    import random, sys
    random.seed(1)
    open("ran.log", "a").write("x")
    print("order", *{"cat", "cow", "dog", "eel", "fox", "hen", "pig", "rat"})
    print(f"score={random.random():.6f}")
"""


def answer(desk, name="t.json"):
    return {a["name"]: a for a in json.loads((desk.folder / name).read_text())["arms"]}


def counted(desk):
    """How many runs each folder saw, by what the script itself wrote there."""
    files = desk.folder / "train.trial.files"
    return sorted(p.parent.parent.name for p in files.glob("*/files/ran.log"))


def test_the_first_run_is_the_plain_script_bit_for_bit(desk):
    desk.write(BIT)
    plain = desk.run("train.py")
    weights = (desk.folder / "weights.pt").read_bytes()
    (desk.folder / "weights.pt").unlink()
    ended = desk.trial(
        "--arms", "lr:x0.5", "--seeds", "1", "--metric", "loss=(.*)", "--lower-is-better",
        "--format", "json", "--output", "t.json", "train.py",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    files = desk.folder / "train.trial.files"
    first = files / "as-is-seed0"
    assert (first / "stdout").read_text() == plain.stdout
    assert (first / "stderr").read_text() == plain.stderr
    assert (first / "files" / "weights.pt").read_bytes() == weights
    assert not (desk.folder / "weights.pt").exists()
    arms = answer(desk)
    assert arms["lr:x0.5"]["runs"][0]["changed"] == 1
    assert arms["lr:x0.5"]["mean"] != arms["as-is"]["mean"]
    # Random numbers that the arm has no part in are those of the unchanged script.
    noise = [
        (files / f"{a}-seed0" / "stdout").read_text().splitlines()[0] for a in ("as-is", "lr-x0.5")
    ]
    assert noise[0] == noise[1]


def test_finished_runs_are_not_repeated_and_seeds_can_be_added(desk):
    desk.write(DICE)
    words = (
        "--arms",
        "group",
        "--metric",
        "score=([0-9.]+)",
        "--format",
        "json",
        "--output",
        "t.json",
    )
    assert desk.trial(*words, "--seeds", "2", "train.py").returncode == 0
    before = {p: p.stat().st_mtime_ns for p in desk.folder.glob("train.trial.files/*/stdout")}
    printed = {p.parent.name: p.read_text() for p in before}
    assert printed["group-seed0"] == printed["as-is-seed0"], "the same seeds and order"
    assert printed["as-is-seed1"].splitlines()[0] != printed["as-is-seed0"].splitlines()[0]
    again = desk.trial(*words, "--seeds", "3", "train.py")
    assert "finished runs are in train.trial.nscope already" in again.stderr
    assert all(p.stat().st_mtime_ns == t for p, t in before.items())
    assert counted(desk) == ["as-is-seed0", "as-is-seed1", "as-is-seed2", "group-seed0"]
    arms = answer(desk)
    shown = desk.run("-m", "normscope", "report", "train.trial.nscope", "--format", "json")
    assert json.loads(shown.stdout)["arms"] == list(arms.values()), "the record tells the same"
    assert arms["group"]["reason"].startswith("not applicable")
    assert len({r["metric"] for r in arms["as-is"]["runs"]}) == 3
    redone = desk.trial(*words, "--seeds", "3", "--rerun", "as-is", "train.py")
    assert redone.returncode == 0
    assert all(p.stat().st_mtime_ns != t for p, t in before.items() if "as-is" in str(p))


def test_a_changed_module_makes_runs_old(desk):
    desk.write("def score():\n    return 0.5\n", "helper.py")
    desk.write(
        "import helper, random; random.seed(0)\nprint('score=', helper.score() * random.random())\n"
    )
    words = ("--arms", "group", "--seeds", "2", "--metric", "score= ([0-9.]+)", "train.py")
    desk.trial(*words)
    desk.write("def score():\n    return 0.25\n", "helper.py")
    ended = desk.trial(*words)
    assert "earlier runs are of other versions of the script's modules" in " ".join(
        ended.stdout.split()
    )


SLOW = """
    import random, sys, time, pathlib
    random.seed(1)
    pathlib.Path("state.txt").write_text("broken")
    if pathlib.Path("slow").exists():
        time.sleep(60)
    print(f"score={random.random():.6f}")
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_broken_off_in_the_middle_nothing_is_lost(desk, number):
    desk.write(SLOW)
    (desk.folder / "state.txt").write_text("precious")
    words = (
        "--arms",
        "group",
        "--metric",
        "score=([0-9.]+)",
        "--format",
        "json",
        "--output",
        "t.json",
    )
    assert desk.trial(*words, "--seeds", "1", "train.py").returncode == 0
    done = (desk.folder / "train.trial.files/as-is-seed0/stdout").stat().st_mtime_ns
    (desk.folder / "slow").touch()
    process = desk.start(*words, "--seeds", "2", "train.py")
    while (desk.folder / "state.txt").read_text() != "broken":
        time.sleep(0.05)
        assert process.poll() is None, process.stderr.read()
    process.send_signal(number)
    _, stderr = process.communicate()
    if number == signal.SIGKILL:
        assert (desk.folder / "state.txt").read_text() == "broken"
    else:
        assert process.returncode == 130
        assert "finished runs are kept" in stderr
        assert (desk.folder / "state.txt").read_text() == "precious"
    (desk.folder / "slow").unlink()
    ended = desk.trial(*words, "--seeds", "2", "train.py")
    assert ended.returncode == 0, ended.stderr
    assert (desk.folder / "state.txt").read_text() == "precious"
    assert (desk.folder / "train.trial.files/as-is-seed0/stdout").stat().st_mtime_ns == done
    assert [r["status"] for r in answer(desk)["as-is"]["runs"]] == ["finished"] * 2
    alive = [p for p in os.listdir("/proc") if p.isdecimal() and _runs_in(p, desk.folder)]
    assert alive == []


def _runs_in(pid, folder):
    try:
        return os.readlink(f"/proc/{pid}/cwd") == str(folder)
    except OSError:
        return False


def test_two_trials_at_once_are_refused(desk):
    desk.write(SLOW)
    (desk.folder / "slow").touch()
    words = ("--arms", "group", "--metric", "score=([0-9.]+)", "train.py")
    first = desk.start(*words)
    while not (desk.folder / "state.txt").exists():
        time.sleep(0.05)
    second = desk.trial(*words)
    first.terminate()
    first.communicate()
    assert second.returncode == 2
    assert "is running now" in second.stderr
    assert not (desk.folder / "state.txt").exists()


ENDS = """
    import os, random, signal, sys
    from pathlib import Path
    random.seed(0)
    # Which seed this is shows in what the moved generator gives.
    seed = int(Path("order.txt").read_text().split().index(f"{random.random():.6f}"))
    if seed == 1: raise RuntimeError("the loss is not a number")
    if seed == 2: os.kill(os.getpid(), signal.SIGKILL)
    if seed == 3: print("score=0.5"); print("score=nan"); print("score=nan"); sys.exit()
    if seed == 4: print("nothing"); sys.exit()
    if seed == 5: sys.exit(3)
    print("score=0.9")
"""


def test_every_end_is_told(desk):
    import random

    from normscope.trials.seeding import offset_of

    draws = [f"{random.Random(offset_of(s)).random():.6f}" for s in range(6)]
    (desk.folder / "order.txt").write_text(" ".join(draws))
    desk.write(ENDS)
    ended = desk.trial(
        "--arms", "group", "--seeds", "6", "--metric", "score=([0-9.]+)", "--format", "json",
        "--output", "t.json", "train.py",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    told = [(r["status"], r["reason"]) for r in answer(desk)["as-is"]["runs"]]
    assert told[0] == ("finished", "")
    assert told[1] == ("crashed", "crashed: RuntimeError: the loss is not a number")
    assert told[2][0] == "crashed"
    assert "SIGKILL: the system may have run out of memory" in told[2][1]
    assert told[3] == ("diverged", "diverged at step 2")
    assert told[4][0] == "no-metric"
    assert "its last line is `nothing`" in told[4][1]
    assert told[5] == ("crashed", "ended with status 3")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--metric", "loss=([0-9.]+)"], "matches nothing that the script printed"),
        (["--metric", "(score)"], "matched `score`, which is no number"),
        (["--metric-name", "accuracy"], "no metric `accuracy` was reported"),
        (["--metric-file", "none.json:a"], "did not write `none.json`"),
        (["--metric-file", "out.json:test.accuracy"], "`out.json` has no `test.accuracy`"),
        (["--metric-file", "out.json:name"], "is no number"),
    ],
)
def test_a_metric_that_cannot_be_read_is_told_after_the_first_run(desk, words, said):
    desk.write(
        """
        import json
        open("ran.log", "a").write("x")
        json.dump({"test": {"loss": 1}, "name": "x"}, open("out.json", "w"))
        print("score=0.5")
        """
    )
    ended = desk.trial("--arms", "group", *words, "train.py")
    assert ended.returncode == 2
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert counted(desk) == ["as-is-seed0"]
    assert not (desk.folder / "ran.log").exists()


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--metric", "score ([0-9.]+)"], 0.75),
        (["--metric", r"step (?P<step>\d+): score (?P<value>\S+)"], 0.75),
        (["--metric-file", "out.json:test.scores.1"], 0.25),
        (["--metric-name", "accuracy"], 0.5),
    ],
)
def test_where_a_metric_is_read(desk, words, value):
    desk.write(
        """
        import json, normscope
        (open("out.json", "w")).write(json.dumps({"test": {"scores": [0, 0.25]}}))
        for step, score in ((10, 0.5), (20, 0.75)):
            print(f"step {step}: score {score}")
        normscope.report_metric("accuracy", 0.4, step=7)
        normscope.report_metric("accuracy", 0.5, step=9)
        """
    )
    ended = desk.trial(
        "--arms",
        "group",
        "--seeds",
        "1",
        *words,
        "--format",
        "json",
        "--output",
        "t.json",
        "train.py",
    )
    assert ended.returncode == 0, ended.stderr
    [run] = answer(desk)["as-is"]["runs"]
    assert run["metric"] == value
    steps = [p["step"] for p in run["curve"]]
    assert steps == {0.25: [1], 0.5: [7, 9]}.get(value, [10, 20] if "?P" in words[1] else [1, 2])


def test_a_record_that_is_none_of_ours_is_left_alone(desk):
    desk.write(DICE)
    db = sqlite3.connect(desk.folder / "mine.nscope")
    db.execute("CREATE TABLE t (x)")
    db.close()
    ended = desk.trial(
        "--arms", "group", "--metric", "s=(.)", "--record", "mine.nscope", "train.py"
    )
    assert ended.returncode == 2
    assert "is not the record of a trial" in ended.stderr

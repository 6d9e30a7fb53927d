"""`normscope lab` as a user types it."""

from __future__ import annotations

import json
import sys

import pytest

from normscope.lab import table

KEYS = ["name", "seed", "claim", "verdict", "effect", "interval"]


def test_it_lists_the_claims(normscope):
    result = normscope("lab")
    assert (result.returncode, result.stderr) == (0, "")
    for name in table.NAMES:
        assert name in result.stdout


def test_the_list_as_json(normscope, claims_of):
    result = normscope("lab", "--format", "json")
    assert list(json.loads(result.stdout)) == ["claims"]
    claims = claims_of(result)
    assert [c["name"] for c in claims] == list(table.NAMES)
    assert all(list(c) == KEYS for c in claims)
    assert all(
        (c["verdict"], c["effect"], c["interval"]) == ("not run", None, None) for c in claims
    )


def test_a_run_gives_verdicts_and_a_page_and_is_not_repeated(normscope, claims_of, tmp_path):
    words = ("lab", "one-operation", "--jobs", "1", "--results", "r.sqlite", "--format", "json")
    first = normscope(*words, "--page", "out")
    assert first.returncode == 0, first.stderr
    [claim] = claims_of(first)
    assert claim["verdict"] == "holds"
    low, high = claim["interval"]
    assert low <= claim["effect"] <= high
    assert (tmp_path / "out" / "lab" / "one-operation.svg").is_file()
    before = (tmp_path / "r.sqlite").read_bytes()
    again = normscope(*words)
    assert again.stdout == first.stdout
    assert (tmp_path / "r.sqlite").read_bytes() == before
    listed = claims_of(normscope("lab", "--results", "r.sqlite", "--format", "json"))
    assert {c["name"]: c["verdict"] for c in listed}["one-operation"] == "holds"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["smal-batch"], "The lab has no claim `smal-batch`. Did you mean `small-batch`?"),
        (["--scale", "huge"], "`--scale huge`: there is no such scale. Write quick or full."),
        (["identity", "--all"], "name claims, or write `--all`, not both"),
        (
            ["identity", "--data", "mnits"],
            "`--data mnits`: there is no such data set. Did you mean `mnist`?",
        ),
        (["--data", "svhn"], "`--data svhn`: there is no such data set."),
        (["identity", "--data", "mnist"], "`--data mnist` needs its files: add `--data-path DIR`"),
        (
            ["identity", "--data", "mnist", "--data-path", "nowhere"],
            "`--data-path nowhere` is no folder",
        ),
        (["identity", "--data", "mnist", "--data-path", "."], "holds no `train-images-idx3-ubyte`"),
        (["identity", "--data", "cifar10", "--data-path", "."], "holds no `data_batch_1`"),
        (["--results", "missing.sqlite"], "holds no results: there is no such file"),
        (["identity", "--results", "no/such/r.sqlite"], "there is no folder `no/such`"),
        (["--page", "out"], "holds no results: there is no such file"),
        (["identity", "--jobs", "0"], "`--jobs` must be at least 1; got 0."),
        (["identity", "--jobs", "2", "--ray", "auto"], "write one of them"),
    ],
)
def test_bad_input_is_one_line(normscope, words, says):
    result = normscope("lab", *words)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("normscope: ")
    assert result.stderr.count("\n") == 1
    assert says in result.stderr


def test_a_cluster_without_ray_is_one_line(normscope, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    result = normscope("lab", "identity", "--ray", "auto")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert "`--ray` needs Ray, which is not installed" in result.stderr

"""`repair advice`: a diff, applied only with `--write`, and refused where the file is another one by now."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from harm.commands import observed
from normscope.cli import main

SCRIPT = """\
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)


def block(width):  # é
    return nn.Sequential(
        nn.Linear(4, width, bias=False),
        nn.BatchNorm1d(width, momentum=0.99),
    )


net = nn.Sequential(block(8), nn.ReLU(), nn.Linear(8, 2))
data = DataLoader(TensorDataset(torch.randn(66, 4), torch.randint(2, (66,))), batch_size=32)
optimizer = torch.optim.SGD(net.parameters(), 0.1)
for epoch in range(12):
    net.train()
    for x, y in data:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        net(torch.randn(64, 4))
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ran")
    (folder / "train.py").write_bytes(SCRIPT.replace("\n", "\r\n").encode())
    done = observed("train.py", cwd=folder, record=folder / "train.nscope")
    assert done.returncode == 0, done.stderr
    assert "normscope repair advice train.nscope" in " ".join(done.stderr.split()).replace(str(folder) + "/", "")  # fmt: skip
    return folder


@pytest.fixture
def here(ran: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the script ran, with the script as it was."""
    path = ran / "train.py"
    path.write_bytes(SCRIPT.replace("\n", "\r\n").encode())
    path.chmod(0o640)
    monkeypatch.chdir(ran)
    return ran


def test_shown_and_not_applied(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (here / "train.py").read_bytes()
    assert main(["repair", "advice", "train.nscope", "--code", "NS201"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("# NS201 momentum-convention")
    assert "-        nn.BatchNorm1d(width, momentum=0.99),\r\n" in said
    assert "+        nn.BatchNorm1d(width, momentum=0.01),\r\n" in said
    assert "Nothing is changed" in said
    assert (here / "train.py").read_bytes() == before


def test_written_with_its_permissions_and_line_ends(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["repair", "advice", "train.nscope", "--code", "NS201", "--write"]) == 0
    assert "changed: train.py" in capsys.readouterr().out
    expected = SCRIPT.replace("0.99", "0.01").replace("\n", "\r\n").encode()
    assert (here / "train.py").read_bytes() == expected
    assert stat.S_IMODE(os.stat("train.py").st_mode) == 0o640
    assert sorted(p.name for p in here.iterdir()) == ["train.nscope", "train.py"]
    assert main(["repair", "advice", "train.nscope", "--code", "NS201"]) == 1
    assert "`train.py` is not as it was in the run: run it again" in capsys.readouterr().out
    assert (here / "train.py").read_bytes() == expected


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_patch_that_git_applies(here: Path, tmp_path: Path) -> None:
    patch = tmp_path / "fix.patch"
    codes = ["--code", "NS201", "--code", "NS302"]
    assert main(["repair", "advice", "train.nscope", *codes, "--output", str(patch)]) == 0
    assert b"momentum=0.99" in (here / "train.py").read_bytes()
    subprocess.run(["git", "apply", str(patch)], cwd=here, check=True)
    changed = (here / "train.py").read_bytes()
    assert b"momentum=0.01" in changed
    assert b"batch_size=32, drop_last=True)\r\n" in changed


def test_a_symptom_is_left_to_its_cause(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["report", "train.nscope", "--format", "json"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    main(["repair", "advice", "train.nscope"])
    said = capsys.readouterr().out
    for finding in findings:
        if finding["explained_by"] or finding["severity"] == "info":
            assert f"# {finding['code']}" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["advice"], "Which run is advice wanted on?"),
        (["advice", "nothing.nscope"], "There is no recording `nothing.nscope`"),
        (["advice", "train.nscope", "--code", "NS999"], "No finding of `NS999` can be mended"),
        (["advice", "train.nscope", "--output", "no/where.patch"], "no/where.patch"),
    ],
)
def test_bad_input_is_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["repair", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error


def test_nothing_to_advise(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["repair", "advice", "train.nscope", "--code", "NS402"]) == 0
    assert capsys.readouterr().out == (
        "train.nscope: no finding that an edit of the source could mend.\n"
    )


def test_advice_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["repair", "--list"]) == 0
    assert "advice " in capsys.readouterr().out

"""docs/rules is what the rules' docstrings say, and the check notices when it is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from normscope import catalogue

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "build_docs.py"


def build(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False
    )


def test_the_committed_pages_are_fresh() -> None:
    result = build("--check")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "rules"
    assert build("--folder", str(folder)).returncode == 0
    return folder


def test_every_rule_has_a_page_and_a_line_in_the_index(written: Path) -> None:
    assert {p.stem for p in written.glob("NS*.md")} == {r.code for r in catalogue.rules()}
    index = (written / "README.md").read_text(encoding="utf-8")
    for rule in catalogue.rules():
        assert f"[{rule.code}]({rule.code}.md) | {rule.name} |" in index


def test_the_check_names_changed_missing_and_orphaned_pages(written: Path) -> None:
    (written / "README.md").write_text("changed", encoding="utf-8")
    (written / "NS999.md").write_text("of no rule", encoding="utf-8")
    result = build("--check", "--folder", str(written))
    assert result.returncode == 1
    assert [line.split(" is stale")[0] for line in result.stderr.splitlines()] == [
        str(written / "NS999.md"),
        str(written / "README.md"),
    ]
    assert build("--folder", str(written)).returncode == 0
    assert build("--check", "--folder", str(written)).returncode == 0
    assert not (written / "NS999.md").exists()

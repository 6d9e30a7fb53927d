from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from normscope import diagnosis as d
from normscope.comparison import compare
from normscope.diagnosis import Diagnosis
from normscope.record.recording import Channels, Layer, Polls, Recording, Scalars
from normscope.report.html import comparison_to_html, to_html
from normscope.report.html.page import embedded
from report import diagnoses

ALL = [diagnoses.failing, diagnoses.healthy, diagnoses.empty, diagnoses.hostile]


class Page(HTMLParser):
    """Every element with its attributes, the text outside of scripts, and the contents of scripts."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts, self.within = "", list[str](), ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.within = tag

    def handle_data(self, data: str) -> None:
        if self.within == "script":
            self.scripts.append(data)
        elif self.within != "style":
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self.within = ""


@pytest.mark.parametrize("build", ALL, ids=lambda f: f.__name__)
def test_the_page_stands_alone(build: Callable[[], Diagnosis]) -> None:
    html = to_html(build())
    page = Page(html)
    assert not [a for _, a in page.tags if {"src", "href", "srcset", "action"} & set(a)]
    assert not {"link", "img", "iframe", "object", "base"} & {t for t, _ in page.tags}
    assert not re.search(r"https?://|url\(|@import", html)
    assert [t for t, _ in page.tags].count("script") == 3


@pytest.mark.parametrize("build", [diagnoses.failing, diagnoses.hostile], ids=lambda f: f.__name__)
def test_tags_are_closed(build: Callable[[], Diagnosis]) -> None:
    html = re.sub(r"<(script|style)\b.*?</\1>", "", to_html(build()), flags=re.DOTALL)
    for tag in (
        "div",
        "span",
        "section",
        "table",
        "tr",
        "td",
        "details",
        "ul",
        "ol",
        "li",
        "p",
        "dl",
        "code",
    ):
        assert len(re.findall(rf"<{tag}\b", html)) == html.count(f"</{tag}>"), tag


def test_hostile_text_opens_no_element() -> None:
    """The page for hostile names has the very elements of one for harmless names."""
    harmless = diagnoses.hostile()
    html = to_html(harmless)
    page = Page(html)
    assert "alert(" not in "".join(page.scripts[1:])
    assert len(page.scripts) == 3
    assert "<script>alert" not in html
    assert "<!--" not in html
    assert "{{ 7*7 }}" in page.text
    assert "\\x1b[31m" in page.text
    assert not any(c in html for c in "\x1b\u202e\u2028\udcff")
    both = comparison_to_html(compare(diagnoses.hostile(), diagnoses.hostile()))
    assert len(Page(both).scripts) == 3
    assert "<script>alert" not in both
    html.encode("utf-8")


def test_embedded_data_survives_and_is_inert() -> None:
    value = {"</script><!-- & \u2028": ["<script>", None, 0.5]}
    assert not re.search("[<>&\u2028]", embedded(value))
    assert json.loads(embedded(value)) == value


def test_the_words_of_the_answer_are_on_the_page() -> None:
    text = " ".join(Page(to_html(diagnoses.failing())).text.split())
    for said in (
        "failing: NS401 inference-in-train-mode (error, high confidence)",
        "at train.py:42",
        "0.31 ± 0.01 sd",
        "expected at most 0.05",
        "call model.eval() before train.py:42",
        "NS411 needs `ranks`",
        "observing took 0.6 %",
        "C − B, staleness",
        "training, 4 samples",
        "Net, inference, batch statistics",
    ):
        assert said in text


def test_a_plot_without_data_says_why() -> None:
    page = Page(to_html(diagnoses.empty()))
    assert [a.get("class") for _, a in page.tags].count("missing") == 6
    assert "No loss was seen" in page.text
    assert json.loads(page.scripts[0]) == {}


def test_plots_hold_the_recorded_numbers() -> None:
    diagnosis = diagnoses.failing()
    charts = json.loads(Page(to_html(diagnosis)).scripts[0])
    assert set(charts) == {"channels", "noise", "loss"}
    chosen = {g["label"]: g for g in charts["channels"]["groups"]}
    means = chosen["features.4"]["panels"][0]["lines"][1]["values"]
    assert means == pytest.approx(diagnosis.recording.channels[1].running_mean, rel=1e-3)
    scalars = diagnosis.recording.scalars
    assert scalars is not None
    assert charts["loss"]["groups"][0]["panels"][0]["lines"][0]["values"] == pytest.approx(
        scalars.loss, rel=1e-3
    )
    assert [g["label"] for g in charts["loss"]["groups"]] == ["loss", "accuracy"]


def huge() -> Diagnosis:
    """500 layers of 2,048 channels, 4,000 polled steps, 500 findings on long paths."""
    rng = np.random.default_rng(0)
    r = Recording(target="train.py", steps=1_000_000)
    told = diagnoses.recording()
    r.models, r.patterns, r.spans = told.models, told.patterns, told.spans
    for i in range(500):
        path = f"backbone.stages.{i}." + "block." * 20 + "norm"
        r.layers[i] = Layer(id=i, model=0, path=path, type="BatchNorm2d")
        r.channels[i] = Channels(*rng.gamma(2, 1, (4, 2048)))
    steps = np.arange(4_000) * 250
    noise = rng.gamma(2, 1, (4_000, 500)).astype(np.float32)
    r.polls = Polls(steps, tuple(range(500)), {"mean_noise": noise, "var_noise": noise})
    r.scalars = Scalars(steps, rng.normal(size=4_000), np.zeros(4_000))
    layers = tuple(x.path for x in r.layers.values())
    findings = (replace(diagnoses.CAUSE, layers=layers),) * 2500
    return d.Diagnosis(r, d.verdict(r, findings), findings, (), d.Coverage((), layers))


def test_the_page_stays_small_for_a_large_run() -> None:
    assert len(to_html(huge()).encode()) < 500_000


def test_missing_statistics_do_not_hide_the_others() -> None:
    diagnosis = diagnoses.failing()
    polls = diagnosis.recording.polls
    assert polls is not None
    noise = polls.values["mean_noise"]
    noise[:, 0] = np.nan
    noise[3:, 1] = np.inf
    noise[:3, 1] = 1.0, 3.0, 5.0
    html = to_html(diagnosis)
    first, *_ = json.loads(Page(html).scripts[0])["noise"]["groups"]
    assert first["panels"][0]["lines"][0]["values"][:4] == [1.0, 3.0, 5.0, None]
    assert re.search(r"<td>features.4</td>\s*<td>3</td>\s*<td>5</td>", html)
    assert re.search(r"<td>features.1</td>\s*<td>—</td>\s*<td>—</td>", html)


def test_reports_are_light_to_import() -> None:
    heavy = "import sys, normscope.report.html, normscope.report.compare, normscope.report.json\n"
    heavy += "print({'torch', 'jinja2', 'rich', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_comparison_shows_both_runs() -> None:
    page = Page(comparison_to_html(compare(diagnoses.failing(), diagnoses.repaired())))
    charts = json.loads(page.scripts[0])
    assert [x["label"] for x in charts["loss"]["groups"][0]["panels"][0]["lines"]] == [
        "before",
        "after",
    ]
    text = " ".join(page.text.split())
    assert "The change removed NS401 inference-in-train-mode" in text
    assert "C, running statistics, after" in text


def test_a_comparison_of_empty_runs_says_what_is_missing() -> None:
    text = Page(comparison_to_html(compare(diagnoses.empty(), diagnoses.empty()))).text
    assert "neither run was evaluated" in text
    assert "Neither run holds a loss or a metric." in text

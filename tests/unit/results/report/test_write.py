"""A report's files: whatever an arm is called, each form shows it and nothing else breaks."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import harness.results.report.write
from harness.records.workspace import Workspace
from harness.results.report import Report, write_report
from harness.results.report.records import RunRecord, StudyRecords
from harness.results.report.write import escape_tex

NOTHING: Mapping[str, str] = {}
NASTY = {
    "minimax": "a_b&c%|x#$~^{}\\y",
    "hinge": "<script>alert(1)</script>",
    "wasserstein": "q\"'><b>bold</b>",
}


@pytest.fixture
def records(make_study: Any, make_records: Any) -> Callable[..., StudyRecords]:
    """Return a function that makes a study of three arms, with two runs of each in each phase."""
    study = make_study(
        question='Is <i>this</i> "better" & cheaper?',
        compare={"loss": ["minimax", "hinge", "wasserstein"]},
        search={"trials_per_arm": 2},
        confirm={"seeds": 2},
    )
    scores = {arm.name: [3.0 + place, 4.0 + place] for place, arm in enumerate(study.arms())}
    kid = {"val/kid_digits_cnn_v1_400": 0.01}

    def with_kid(run: RunRecord) -> RunRecord:
        return replace(run, metrics={**run.metrics, **kid})

    made = make_records(scores, scores, study, best={"g_lr": 1e-3}, edit=with_kid)

    def records(renamed: Mapping[str, str] = NOTHING) -> StudyRecords:
        runs = tuple(replace(run, arm=renamed.get(run.arm, run.arm)) for run in made.runs)
        states = tuple(
            replace(
                state,
                arm=replace(state.arm, name=renamed.get(state.arm.name, state.arm.name)),
            )
            for state in made.states
        )
        return replace(made, runs=runs, states=states)

    return records


class Store:
    """Stands for MLflow: no curves, no pictures, and it notes what is attached."""

    folders: list[tuple[str, Path, str]] = []

    def __init__(self, workspace: Workspace) -> None:
        self.folders.clear()

    def history(self, run_id: str, key: str) -> list[tuple[int, float]]:
        return [(320, 9.0), (640, 8.0)]

    def grids(self, run_id: str, key: str = "", *, last_only: bool = False) -> dict[int, Any]:
        return {}

    def attached(self, run_id: str, name: str, read: Any) -> None:
        return None

    def log_grids(self, run_id: str, key: str, pictures: Mapping[int, Any]) -> None:
        pass

    def log_folder(self, run_id: str, folder: Path, name: str) -> None:
        self.folders.append((run_id, folder, name))


Write = Callable[..., Report]


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Write:
    """Return a function that writes up a study of these records."""
    monkeypatch.setattr(harness.results.report.write, "Tracker", Store)
    monkeypatch.setattr(harness.results.report.write, "check_known", lambda names, workspace: None)
    opened = SimpleNamespace(
        storage=SimpleNamespace(studies=SimpleNamespace(ledger=lambda name: None))
    )
    monkeypatch.setattr(harness.results.report.write, "open_study", lambda *_: opened)
    monkeypatch.setattr(harness.results.report.write, "prepare_pages", lambda *_: None)
    draw = harness.results.report.write.build_charts
    draw_costs = harness.results.report.write.build_view_charts
    # The baseline's name is that of its levels, so a renamed one is named to the analysis.
    analyse = harness.results.report.write.analyse

    def write(study: StudyRecords, name: str = "mine", *, drawn: bool = False) -> Report:
        def found(*_: object) -> StudyRecords:
            return study

        def compared(merged: StudyRecords, baseline: str | None) -> Any:
            return analyse(merged, baseline=merged.states[0].arm.name)

        monkeypatch.setattr(harness.results.report.write, "load_records", found)
        monkeypatch.setattr(harness.results.report.write, "analyse", compared)
        charts = draw if drawn else lambda *_: []  # drawing is what takes long
        monkeypatch.setattr(harness.results.report.write, "build_charts", charts)
        costs = draw_costs if drawn else lambda *_: []
        monkeypatch.setattr(harness.results.report.write, "build_view_charts", costs)
        return write_report([name], Workspace.locate(root=tmp_path), tmp_path / "report")

    return write


class Page(HTMLParser):
    """All tags of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, key: str) -> list[str]:
        return [attrs[key] for each, attrs in self.tags if each == tag and key in attrs]


def page(report: Report) -> Page:
    return Page((report.folder / "report.html").read_text())


# HTML.


def test_html_shows_nasty_names_as_they_are(write: Write, records: Any) -> None:
    shown = page(write(records(NASTY), drawn=True))
    assert {tag for tag, _ in shown.tags}.isdisjoint({"script", "b", "i"})
    for name in (*NASTY.values(), 'Is <i>this</i> "better" & cheaper?'):
        assert name in shown.text
    alts = shown.all("img", "alt")
    assert any("q\"'><b>bold</b>" in alt for alt in alts)


def test_every_picture_lies_in_the_page_and_is_described(write: Write, records: Any) -> None:
    report = write(records(), drawn=True)
    shown = page(report)
    sources, alts = shown.all("img", "src"), shown.all("img", "alt")
    assert len(sources) == len(alts) == 5
    assert all(len(alt) > 30 for alt in alts)
    files = {file.read_bytes() for file in report.folder.glob("figures/*.png")}
    head = "data:image/png;base64,"
    assert {base64.b64decode(source.removeprefix(head)) for source in sources} == files


def test_the_page_needs_nothing_from_elsewhere(write: Write, records: Any) -> None:
    shown = page(write(records()))
    assert {tag for tag, _ in shown.tags}.isdisjoint({"link", "script", "iframe", "object"})
    assert not any(source.startswith("http") for source in shown.all("img", "src"))
    pages = {run.page for run in records().runs}
    links = {link for link in shown.all("a", "href") if not link.startswith("#")}
    (of_the_study,) = links - pages
    assert links >= pages
    assert "/#/experiments/" in of_the_study
    html = (shown.text, *(attrs.get("style", "") for _, attrs in shown.tags))
    assert not any(re.search(r"url\(|@import", part) for part in html)


def test_links_have_targets_and_ids_are_unique(write: Write, records: Any) -> None:
    shown = page(write(records(NASTY)))
    ids = [attrs["id"] for _, attrs in shown.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = {link[1:] for link in shown.all("a", "href") if link.startswith("#")}
    assert links == {f"run-{run.run_id}" for run in records().runs}
    assert links < set(ids)


def test_tables_have_a_cell_for_every_heading(write: Write, records: Any) -> None:
    html = (write(records()).folder / "report.html").read_text()
    tables = re.findall(r"<table.*?</table>", html, re.DOTALL)
    assert len(tables) == 11
    for table in tables:
        headings = table.count("<th scope")
        rows = re.findall(r"<tr.*?</tr>", table.partition("<tbody>")[2], re.DOTALL)
        assert {row.count("<td") for row in rows} == {headings}


# Markdown.


def split(line: str) -> list[str]:
    """Split a row of a table as GitHub does: a backslash before a sign makes it plain."""
    cells = re.findall(r"((?:\\[!-/:-@\[-`{-~]|[^|])*)\|", line)
    return [re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", cell).strip() for cell in cells[1:]]


def tables(markdown: str) -> list[list[list[str]]]:
    found = re.findall(r"(?:^\|.*\n?)+", markdown, re.MULTILINE)
    return [[split(line) for line in table.splitlines()] for table in found]


def first_cells(report: Report) -> list[str]:
    markdown = (report.folder / "report.md").read_text()
    return [row[0] for row in tables(markdown)[0][2:]]


@pytest.mark.parametrize(
    "name",
    [
        "a_b&c%|x",
        "a|b|c",
        "hinge,d_steps=2",
        pytest.param("a\\|b"),
    ],
)
def test_markdown_keeps_a_name_in_its_cell(write: Write, name: str, records: Any) -> None:
    assert first_cells(write(records({"minimax": name}))) == [name, "hinge", "wasserstein"]


def test_markdown_tables_have_a_cell_for_every_heading(write: Write, records: Any) -> None:
    markdown = (write(records({"minimax": "a|b"})).folder / "report.md").read_text()
    for table in tables(markdown):
        assert len({len(row) for row in table}) == 1
    assert len(tables(markdown)) == 11


def test_markdown_holds_no_html(write: Write, records: Any) -> None:
    markdown = (write(records(NASTY)).folder / "report.md").read_text()
    assert not re.search(r"(?<!\\)<(script|b|i)>", markdown)


def test_markdown_pictures_are_there(write: Write, records: Any) -> None:
    report = write(records(), drawn=True)
    markdown = (report.folder / "report.md").read_text()
    files = re.findall(r"\]\((figures/.*?)\)", markdown)
    assert len(files) == 5
    for file in files:
        assert (report.folder / file).is_file()


# LaTeX.


@pytest.mark.parametrize(
    ("plain", "tex"),
    [
        ("a_b&c%", r"a\_b\&c\%"),
        ("\\", r"\textbackslash{}"),
        ("\\_{", r"\textbackslash{}\_\{"),
        ("#$}", r"\#\$\}"),
        ("~^", r"\textasciitilde{}\textasciicircum{}"),
        ("P(A < B) > 0", "P(A $<$ B) $>$ 0"),
        ("−1 ± 2", r"$-$1 $\pm$ 2"),
        ("1 → ∞", r"1 $\to$ $\infty$"),
        ("2 × 1", r"2 $\times$ 1"),
        ("–", "--"),
        ("plain text, 1.5", "plain text, 1.5"),
        pytest.param(
            "a|b", r"a\textbar{}b",
        ),
    ],
)  # fmt: skip
def test_tex_is_escaped(plain: str, tex: str) -> None:
    assert escape_tex(plain) == tex


def test_tex_tables_are_whole(write: Write, records: Any) -> None:
    tex = (write(records(NASTY)).folder / "tables.tex").read_text()
    assert tex.isascii()
    lines = [line for line in tex.splitlines() if not line.startswith("%")]
    body = "\n".join(lines)
    for begin, end in (("{table}", "{table}"), ("{tabular}", "{tabular}")):
        assert (
            body.count(rf"\begin{begin}") == body.count(rf"\end{end}") == 10
        )  # all but that of runs
    plain = re.sub(r"\\.", "", body)
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    columns = 0
    for line in lines:
        if found := re.match(r"\\begin\{tabular\}\{(l r*|lr*)\}", line):
            columns = len(found[1])
        if line.endswith("\\\\"):
            assert len(re.findall(r"(?<!\\)&", line)) == columns - 1


# What it takes to do it again.


def section(report: Report, heading: str) -> str:
    markdown = (report.folder / "report.md").read_text()
    return markdown.partition(f"## {heading}\n\n")[2].partition("\n## ")[0]


def test_methods_state_the_protocol(write: Write, records: Any) -> None:
    methods = section(write(records()), "Methods")
    for fact in (
        "digits (digest d1), 900 training, 400 validation and 300 test images",
        "Arms: minimax, hinge, wasserstein; baseline minimax.",
        "in every arm 2 trials (random sampling, pruner none",
        "g_lr log-uniform in [0.0001, 0.01]",
        "2 fresh training seeds per arm", "640 real images each",
        "between 400 generated and 400 real images", "Real training images score 0.500",
        "64 features of digits_cnn_v1 (SHA-256 abc123…", "KID: subsets 20, subset size 200",
        "cpu, 1 thread(s) per run, float32", "torch 2.11.0", "commit unknown",
    ):  # fmt: skip
        assert fact in methods, fact


def commands(report: Report) -> list[str]:
    return re.findall(r"```\n(.*)\n```", section(report, "How to reproduce"))


def test_commands_that_make_the_report_again(write: Write, records: Any) -> None:
    study = records()
    made = ["harness report mine", "harness reproduce minimax-confirm-0"]  # the baseline's best run
    assert commands(write(study)) == ["harness run studies/mine.toml", *made]
    tags = {"command": "harness run my.toml --workers 2"}
    runs = tuple(replace(run, tags=tags) for run in study.runs)
    assert commands(write(replace(study, runs=runs))) == [tags["command"], *made]


def test_a_study_whose_name_has_a_space(write: Write, records: Any) -> None:
    study = replace(records(), name="my study")
    assert "harness report 'my study'" in commands(write(study, "my study"))


# The folder, and MLflow.


def test_the_report_is_attached_to_the_studys_run(write: Write, records: Any) -> None:
    report = write(records())
    assert Store.folders == [("parent", report.folder, "reports/mine")]


def test_a_name_of_an_arm_is_no_path(write: Write, records: Any) -> None:
    report = write(records({"minimax": "../../x"}))
    assert {file.name for file in report.folder.parent.iterdir()} >= {"report"}
    assert {file.name for file in report.folder.iterdir()} == {
        "report.html", "report.md", "tables.tex", "runs.csv", "figures",
    }  # fmt: skip

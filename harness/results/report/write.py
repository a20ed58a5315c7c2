"""One set of tables, figures and sentences, written as HTML, Markdown, LaTeX, CSV, PNG and PDF."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2

from harness.data.pictures import REAL_FILE, read_picture
from harness.errors import HarnessError
from harness.records.tracking import Tracker
from harness.records.ui import study_page, ui_address
from harness.records.workspace import Workspace, check_replaceable, replaced_folder
from harness.results.browse import REPORT_FOLDER, prepare_pages
from harness.results.report.analysis import analyse
from harness.results.report.answer import answer, notices
from harness.results.report.charts import build_charts, curve_keys
from harness.results.report.galleries import build_galleries, own_pictures, parent_pictures
from harness.results.report.methods import methods, reproduction
from harness.results.report.plan_tables import checklist, plan_table
from harness.results.report.records import (
    FLOPS,
    SECONDS,
    Curves,
    check_known,
    check_same_protocol,
    joint_name,
    load_records,
    merge,
    runs_csv,
)
from harness.results.report.style import Drawing
from harness.results.report.table import Row, Table
from harness.results.report.tables import build_tables
from harness.results.report.threats import threats
from harness.results.report.view_charts import build_view_charts
from harness.results.report.view_tables import view_table
from harness.results.report.views import study_views
from harness.results.spelling import capital
from harness.run.runner import CLASSES_KEY, NEIGHBOURS_KEY
from harness.work.board import open_study

HTML_FILE = "report.html"
FILES = {HTML_FILE, "report.md", "tables.tex", "runs.csv", "figures"}

OWN_PICTURES = "own"  # stands for those that systems declare
SECTIONS = (
    (
        "Result",
        ("scores", "samples"),
        ("results", "comparison", "axes", "views", "metrics", "judge", "back"),
    ),
    ("Training", ("score_curves", "costs", "training", "over_training"), ("failures", "cost")),
    ("Samples", (NEIGHBOURS_KEY, CLASSES_KEY, OWN_PICTURES), ()),
    (
        "Search",
        ("tuned", "rates", "search_budget", "parallel", "importance"),
        ("settings", "marginals"),
    ),
    ("Factors and pairs", (), ("effects", "interactions", "pairs")),
    ("Plan", (), ("plan", "checklist")),
)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was written.

    Attributes:
        folder: Where to; `report.html` is the file to open.
        answer: The paragraph that answers the study's question.
        notices: What a reader must know first.
        num_runs: Runs that it rests on.
    """

    folder: Path
    answer: str
    notices: tuple[str, ...]
    num_runs: int


def write_report(
    names: Sequence[str],
    workspace: Workspace,
    folder: Path | None = None,
    *,
    tell: Callable[[str], None] = lambda stage: None,
) -> Report:
    """Write up one study, or several whose protocols agree in one report.

    Args:
        names: The studies; the first one's question and baseline lead.
        workspace: Where they live.
        folder: Created, or replaced if it is an earlier report; None: `reports/NAME`.
        tell: Told what is being done.

    Raises:
        HarnessError: An unknown study, one without a finished run, protocols that differ, or a
            folder in the way.
    """
    if len(set(names)) < len(names):
        raise HarnessError(f"the studies {', '.join(names)}: one is named twice")
    title = "+".join(names)
    folder = folder or Path("reports") / title
    check_replaceable(folder, FILES, HTML_FILE)
    tell("reading runs")
    check_known(names, workspace)
    tracker = Tracker(workspace)
    studies = [load_records(name, workspace, tracker) for name in names]
    check_same_protocol(studies)
    merged = merge(studies)
    baseline = joint_name(studies[0], studies[0].study.baseline_arm) if len(names) > 1 else None
    analysis = analyse(merged, baseline=baseline)
    tell("reading curves")
    keys = [*curve_keys(analysis), SECONDS, FLOPS]
    curves: Curves = {
        run.run_id: {key: tracker.history(run.run_id, key) for key in keys if key in run.metrics}
        for arm in analysis.arms
        for run in arm.confirm
    }
    tell("drawing figures")
    real = tracker.attached(merged.definition.parent_run_id, REAL_FILE, read_picture)
    galleries = build_galleries(analysis, tracker.grids, real)
    charts = [*build_charts(analysis, curves), *build_view_charts(analysis, curves)]
    drawings = [*charts, *galleries]
    images = {drawing.name: drawing.save("png") for drawing in drawings}
    views = study_views(analysis, curves)
    tables = {table.name: table for table in build_tables(analysis)}
    if views:
        tables["views"] = view_table(analysis, views)
    for extra in (plan_table(studies), checklist(analysis, studies)):
        if extra.rows:
            tables[extra.name] = extra
    study_pages = {
        each.name: ui_address(workspace) + study_page(each.definition.experiment_id)
        for each in studies
    }
    content: dict[str, Any] = {
        "title": title,
        "question": merged.study.question,
        "date": time.strftime("%Y-%m-%d"),
        "metric": analysis.metric,
        "notices": notices(analysis),
        "answer": answer(analysis, views),
        "sections": _sections(drawings, tables, own_pictures(analysis)),
        "tables": list(tables.values()),
        "methods": methods(analysis, studies),
        "threats": threats(analysis, curves),
        "reproduction": reproduction(analysis, studies),
        "runs": tables["runs"],
        "pages": {run.run_id: run.page for run in merged.runs},
        "studies": study_pages,
        "address": ui_address(workspace),
        "images": {name: base64.b64encode(png).decode() for name, png in images.items()},
    }
    tell("writing files")
    with replaced_folder(folder) as new:
        (new / "figures").mkdir()
        for drawing in drawings:
            (new / "figures" / f"{drawing.name}.png").write_bytes(images[drawing.name])
            (new / "figures" / f"{drawing.name}.pdf").write_bytes(drawing.save("pdf"))
        (new / HTML_FILE).write_text(_render("report.html.j2", content))
        (new / "report.md").write_text(_markdown(content))
        (new / "tables.tex").write_text(_render("tables.tex.j2", content))
        (new / "runs.csv").write_text(runs_csv(merged.runs, curves, analysis.objective))
    tell("attaching to MLflow")
    told = list(content["notices"])
    try:
        for records in studies:
            parent = records.definition.parent_run_id
            tracker.log_folder(parent, folder, f"{REPORT_FOLDER}/{title}")
        if len(studies) == 1:
            for key, pictures in parent_pictures(analysis, tracker.grids, drawings).items():
                tracker.log_grids(parent, key, pictures)
        for name in names:
            opened = open_study(name, workspace)
            prepare_pages(opened, tracker, opened.storage.studies.ledger(name))
    except HarnessError as error:  # the report itself is written
        told.append(f"The report is not attached to the study's run: {error}")
    return Report(
        folder=folder,
        answer=content["answer"],
        notices=tuple(told),
        num_runs=sum(len(arm.search) + len(arm.confirm) for arm in analysis.arms),
    )


def _sections(
    drawings: Iterable[Drawing], tables: dict[str, Table], own: Iterable[str]
) -> list[dict[str, Any]]:
    by_name = {drawing.name: drawing for drawing in drawings}
    named = {OWN_PICTURES: [*own]}
    sections = [
        {
            "heading": heading,
            "figures": [
                by_name[name]
                for figure in figures
                for name in named.get(figure, [figure])
                if name in by_name
            ],
            "tables": [tables[name] for name in names if name in tables],
        }
        for heading, figures, names in SECTIONS
    ]
    return [section for section in sections if section["figures"] or section["tables"]]


def _with_ids(table: Table) -> Table:
    rows = tuple(Row(cells=(*row.cells, row.run_ids[0])) for row in table.rows)
    return replace(table, columns=(*table.columns, "MLflow run"), rows=rows)


def _render(template: str, content: dict[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.results.report"),
        autoescape=template.endswith(".html.j2"),
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["tex"] = escape_tex
    return environment.get_template(template).render(content)


def _markdown(content: Mapping[str, Any]) -> str:
    """Return the report as Markdown, one block after another."""
    title, date, metric = content["title"], content["date"], content["metric"]
    blocks = [f"# {content['question']}", f"Study {title} · {date} · metric `{metric}`"]
    blocks += [f"> **Note.** {notice}" for notice in content["notices"]]
    blocks.append(f"**Answer.** {content['answer']}")
    for section in content["sections"]:
        blocks.append(f"## {section['heading']}")
        for drawing in section["figures"]:
            blocks.append(f"![{drawing.alt}](figures/{drawing.name}.png)")
            blocks.append(f"*{drawing.caption}*")
        for table in section["tables"]:
            blocks += _markdown_table(table)
            if runs := _runs_of(table, content["runs"]):
                blocks.append(f"Runs: {runs}.")
    blocks += ["## Methods", *content["methods"]]
    blocks += ["## Threats to validity", "\n".join(f"- {text}" for text in content["threats"])]
    blocks.append("## How to reproduce")
    for what, command in content["reproduction"]:
        blocks += [f"{capital(what)}:", f"```\n{command}\n```"]
    blocks += ["## Runs", *_markdown_table(_with_ids(content["runs"]))]
    # A name such as <b> is text, not a tag.
    return re.sub(r"<(?=[A-Za-z/!])", "&lt;", "\n\n".join(blocks)) + "\n"


def _runs_of(table: Table, runs: Table) -> str:
    """Return the runs that a table rests on, by the labels that they have in the table of runs."""
    ids = {run_id for row in table.rows for run_id in row.run_ids}
    trials: dict[str, list[int]] = {}
    for row in runs.rows:
        if ids.intersection(row.run_ids):
            group, trial = row.cells[0].rsplit(" ", 1)
            trials.setdefault(group, []).append(int(trial))
    return "; ".join(f"{group} {_ranges(each)}" for group, each in trials.items())


def _ranges(numbers: Sequence[int]) -> str:
    """Spell numbers with runs of neighbours as ranges: `0 to 4, 7`."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{p[0]} to {p[-1]}" if len(p) > 1 else f"{p[0]}" for p in parts)


def _markdown_table(table: Table) -> list[str]:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(re.sub(r"([|\\])", r"\\\1", cell) for cell in cells) + " |"

    rule = ["---", *["---:" for _ in table.columns[1:]]]
    lines = [line(table.columns), line(rule), *(line(row.cells) for row in table.rows)]
    return [f"*{table.caption}*", "\n".join(lines)]


_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: "\\" + sign for sign in "&%$#_{}"},
    "|": r"\textbar{}",
    "<": "$<$",
    ">": "$>$",
    "±": r"$\pm$",
    "−": "$-$",
    "→": r"$\to$",
    "×": r"$\times$",
    "∞": r"$\infty$",
    "–": "--",
    "“": "``",
    "”": "''",
    "’": "'",
    "…": r"\dots{}",
}


def escape_tex(text: str) -> str:
    """Return a text that LaTeX prints as it is."""
    return re.sub("|".join(map(re.escape, _TEX)), lambda found: _TEX[found[0]], text)

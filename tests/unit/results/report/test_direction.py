"""An objective of which more is better mirrors one of which less is: nothing else may change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from harness.evaluate.metric import METRICS, Figure, figure_of, metric
from harness.results.report.analysis import Analysis, analyse
from harness.results.report.answer import answer
from harness.results.report.charts import build_charts
from harness.results.report.galleries import chosen_runs
from harness.results.report.methods import methods
from harness.results.report.records import StudyRecords
from harness.results.report.tables import build_tables
from harness.results.report.threats import threats
from harness.work.cell import CellRecord

CONFIRM = {"minimax": [5.0, 9.0, 4.0, 7.0, 6.0, "failed"], "hinge": [2.0, 3.5, 1.0, 2.5, 3.0, 8.0]}
SEARCH = {"minimax": [9.0, 7.0, "diverged", 8.0], "hinge": [4.0, 6.0, 5.0, 3.0]}


@pytest.fixture(autouse=True)
def _agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register a figure of which more is better."""
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))
    monkeypatch.setattr(METRICS, "_descriptions", dict(METRICS._descriptions))
    figure = Figure(name="agreement", label="agreement", description="Likeness", best="higher")
    metric(figure)(lambda compared: {"agreement": 1.0})


@pytest.fixture
def lower(make_records: Any) -> Analysis:
    return analyse(make_records(CONFIRM, SEARCH))


@pytest.fixture
def higher(lower: Analysis) -> Analysis:
    """Return the same study, every score negated and called otherwise."""
    return analyse(_mirrored(lower.records))


def _mirrored(records: StudyRecords) -> StudyRecords:
    def flip(scores: Mapping[str, float]) -> dict[str, float]:
        return {
            key.replace("/fid_", "/agreement_"): -value if "/fid_" in key else value
            for key, value in scores.items()
        }

    def cell(record: CellRecord) -> CellRecord:
        value = None if record.value is None else -record.value
        return replace(record, value=value, scores=flip(record.scores))

    old = records.definition
    definition = old.model_copy(
        update={
            "metric": old.metric.replace("fid", "agreement"),
            "objective": old.objective.replace("fid", "agreement"),
            "floor": -0.5,
        }
    )
    states = (
        replace(each, search=tuple(map(cell, each.search)), confirm=tuple(map(cell, each.confirm)))
        for each in records.states
    )
    runs = (replace(run, metrics=flip(run.metrics)) for run in records.runs)
    return replace(records, definition=definition, states=tuple(states), runs=tuple(runs))


def _pairs(one: Analysis, other: Analysis) -> Iterator[tuple[Any, Any]]:
    return zip(one.arms, other.arms, strict=True)


def test_the_same_runs_are_best(lower: Analysis, higher: Analysis) -> None:
    assert higher.figure == figure_of(higher.metric) != lower.figure
    for less, more in _pairs(lower, higher):
        assert {key: run.run_id for key, run in chosen_runs(less).items()} == {
            key: run.run_id for key, run in chosen_runs(more).items()
        }
        assert more.summary.best_validation == -less.summary.best_validation
        assert more.best_of_n == [-value for value in less.best_of_n]
        assert more.best_so_far == [-value for value in less.best_so_far]


def test_figures_are_mirrored(lower: Analysis, higher: Analysis) -> None:
    for less, more in _pairs(lower, higher):
        assert more.iqm == pytest.approx(-less.iqm)
        assert more.iqm_interval == pytest.approx(
            tuple(-end for end in reversed(less.iqm_interval))
        )
        assert more.summary.mean == pytest.approx(-less.summary.mean)
        assert more.summary.median == -less.summary.median
    assert higher.arm("minimax").iqm_interval.low == -math.inf  # failures rank worst


def test_tests_are_the_same(lower: Analysis, higher: Analysis) -> None:
    (less,), (more,) = lower.contrasts, higher.contrasts
    assert more.test.p_value == less.test.p_value
    assert more.test.superiority == less.test.superiority > 0.5
    assert more.test.difference == pytest.approx(-less.test.difference)
    assert more.effect_size == pytest.approx(-less.effect_size)


def test_words_and_tables_say_which_way_is_good(lower: Analysis, higher: Analysis) -> None:
    studies = [higher.records]
    text = " ".join([answer(higher), *methods(higher, studies), *threats(higher, {})])
    assert "minimax: test agreement −2.40 ± 0.96 against −6.2 ± 1.9 over the first 5 seeds" in text
    assert f"P(hinge > minimax) = {higher.contrasts[0].test.superiority:.2f}" in text
    tables = {table.name: table for table in build_tables(higher)}
    assert "higher is better" in tables["results"].caption
    assert tables["comparison"].columns[1] == "P(A > B)"
    everything = text + " ".join(f"{table.caption} {table.columns}" for table in tables.values())
    assert "FID" not in everything
    assert "lower is better" not in everything
    assert answer(higher).replace("agreement", "FID").count("FID") == answer(lower).count("FID")


def test_charts_name_it_and_point_the_other_way(higher: Analysis) -> None:
    charts = {chart.name: chart for chart in build_charts(higher, {})}
    assert "FID" not in " ".join(chart.caption + chart.alt for chart in charts.values())
    axes, _ = charts["scores"].figure.axes
    assert axes.get_xlabel().endswith("higher is better")
    assert axes.get_xscale() == "linear"
    arrow = next(line for line in axes.get_lines() if line.get_marker() == "<")
    assert arrow.get_xdata()[0] == axes.get_xlim()[0]

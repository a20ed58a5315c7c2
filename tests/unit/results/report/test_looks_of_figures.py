"""What figures show beside their data: ranges, differences, floors, and marks other than colour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb, to_rgba

from harness.results.report.analysis import Analysis, analyse
from harness.results.report.charts import build_charts, curve_keys
from harness.results.report.style import COLOURS, SCORES, Drawing, arm_styles

Results = Sequence[float | str]
RATE = {"low": 5e-5, "high": 2e-3, "log": True}
SCORED: dict[str, Results] = {
    "minimax": [5.1, 5.7, 5.4, 5.3, 5.5],
    "hinge": [2.2, 2.8, 2.5, 2.6, 2.4],
}
SEARCH = (50.0, "diverged", 9.0, 30.0)


@pytest.fixture
def drawn(make_study: Any, make_records: Any) -> Callable[..., dict[str, Drawing]]:
    """Return a function that draws a study in which both rates are tuned."""

    def drawn(
        confirm: Mapping[str, Results] = SCORED,
        space: Mapping[str, Any] = {"g_lr": RATE, "d_lr": RATE},
        importances: Mapping[str, Mapping[str, float]] | None = None,
    ) -> dict[str, Drawing]:
        study = make_study(compare={"loss": list(confirm)}, space=space)
        searches = dict.fromkeys(confirm, SEARCH)
        best = study.points(study.arms()[0])[2]
        records = make_records(confirm, searches, study, best=best, importances=importances)
        analysis = analyse(records)
        return {each.name: each for each in build_charts(analysis, curves(analysis))}

    return drawn


def curves(analysis: Analysis) -> dict[str, Any]:
    return {
        run.run_id: {
            key: [(step, 0.1 + run.seed / 10 + 10 / step) for step in range(64, 1281, 64)]
            for key in curve_keys(analysis)
        }
        for arm in analysis.arms
        for run in arm.confirm
    }


# Ranges.


def test_the_axis_of_a_tuned_parameter_is_the_searched_range(drawn: Any) -> None:
    charts = drawn()
    linear = drawn(space={"adam_beta1": {"low": 0.0, "high": 0.9}})
    for axes in charts["tuned"].figure.axes[:2]:
        low, high = axes.get_xlim()
        assert 4e-5 < low < 5e-5
        assert 2e-3 < high < 2.4e-3
    low, high = linear["tuned"].figure.axes[0].get_xlim()
    assert -0.05 < low < 0
    assert 0.9 < high < 0.95
    assert "the whole searched range" in charts["tuned"].caption


def test_both_rates_are_mapped_where_both_are_tuned(drawn: Any) -> None:
    chart = drawn()["rates"]
    first, second, bar = chart.figure.axes
    assert [first.get_title(), second.get_title()] == ["minimax", "hinge"]
    for axes in (first, second):
        assert axes.get_xscale() == axes.get_yscale() == "log"
        for low, high in (axes.get_xlim(), axes.get_ylim()):
            assert low < 5e-5
            assert high > 2e-3
    points = first.collections  # trial 0, the lost one, the confirmed one and its ring, another
    assert len(points) == 5
    assert len(second.collections) == 4  # its confirmed settings are no trial of its own
    assert len(points[0].get_paths()[0].vertices) == 5  # a square
    ring = points[3]
    assert len(ring.get_facecolors()) == 0
    assert ring.get_offsets().tolist() == points[2].get_offsets().tolist()
    good, poor = points[2], points[0]
    assert good.get_sizes()[0] > poor.get_sizes()[0]
    assert good.norm is poor.norm
    assert type(good.norm).__name__ == "LogNorm"
    assert any(label.get_text() for label in bar.get_yticklabels())
    assert ", 9.00; hinge" in chart.alt
    assert "rates" not in drawn(space={"g_lr": RATE})


# Differences and floors.


def test_differences_stand_beside_the_scores(drawn: Any) -> None:
    chart = drawn()["scores"]
    scores, differences = chart.figure.axes
    assert [label.get_text() for label in scores.get_yticklabels()] == ["minimax", "hinge"]
    assert differences.get_xlabel() == "difference to\nminimax"
    points = [line for line in differences.get_lines() if line.get_marker() == "s"]
    assert [line.get_xydata().tolist() for line in points] == [[[pytest.approx(-2.9), 1]]]
    (bar,) = (line for line in differences.get_lines() if line.get_linewidth() == 2.2)
    low, high = bar.get_xdata()
    assert low < -2.9 < high < 0
    assert "Differences to minimax: hinge −2.90 [−3.30, −2.50]" in chart.alt


def test_a_difference_without_an_end_is_an_arrow(drawn: Any) -> None:
    lost = {**SCORED, "hinge": [2.2, 2.8, 2.5, 2.6, "diverged"]}
    chart = drawn(lost)["scores"]
    arrows = [line for line in chart.figure.axes[1].get_lines() if line.get_marker() == ">"]
    assert len(arrows) == 1
    assert "An arrow: without end" in chart.caption
    assert "An arrow" not in drawn()["scores"].caption
    assert len(drawn({**SCORED, "hinge": []})["scores"].figure.axes) == 1


def test_few_runs_have_no_bar(drawn: Any) -> None:
    few = {arm: scores[:3] for arm, scores in SCORED.items()}
    axes = drawn(few)["scores"].figure.axes[1]
    assert not [line for line in axes.get_lines() if line.get_linewidth() == 2.2]


def test_the_floor_is_drawn_where_test_scores_are(drawn: Any) -> None:
    axes = drawn()["scores"].figure.axes[0]
    assert [0.5, 0.5] in [list(line.get_xdata()) for line in axes.get_lines()]


# Importance.


def test_importance_that_is_withheld_is_named(drawn: Any) -> None:
    said = (
        "The importance of parameters takes 20 scored trials of an arm and is withheld: "
        "minimax has 3, hinge has 3."
    )
    assert drawn()["tuned"].caption.endswith(said)
    known = drawn(importances={"minimax": {"g_lr": 1.0}, "hinge": {"g_lr": 1.0}})
    assert "withheld" not in known["tuned"].caption
    assert "withheld" not in drawn(space={"g_lr": RATE})["tuned"].caption


# Marks.


def luminance(colour: Any) -> float:
    """Return the relative luminance of the WCAG."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(colour: Any) -> float:
    return 1.05 / (luminance(colour) + 0.05)


def lightness(colour: Any) -> float:
    """Return L* of CIELAB, 0 to 100: what is left of a colour in grey."""
    y = luminance(colour)
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def test_contrast_and_lightness_of_known_colours() -> None:
    assert contrast("#000000") == pytest.approx(21)
    assert contrast("#777777") == pytest.approx(4.48, abs=0.01)
    assert lightness("#777777") == pytest.approx(50, abs=0.2)


def test_colours_show_on_white_and_differ_in_grey() -> None:
    assert min(map(contrast, COLOURS)) >= 3
    greys = sorted(map(lightness, COLOURS))
    assert min(np.diff(greys)) >= 9
    shades = [SCORES(share) for share in np.linspace(0, 1, 11)]
    assert min(map(contrast, shades)) >= 3
    assert min(np.diff(list(map(lightness, shades)))) > 0


def drawn_colours(axes: Any) -> list[Any]:
    """Return the colours, alpha included, of all marks and lines that can be seen."""
    found = []
    for each in axes.collections:
        filled = each.get_facecolors()
        found += list(filled if len(filled) else each.get_edgecolors())  # a ring has its edge alone
    for line in axes.get_lines():
        if line.get_alpha() != 0 and line.get_marker() not in ("", "None", None):
            found.append(to_rgba(line.get_markerfacecolor(), line.get_alpha()))
    return found


def on_white(colour: Any) -> list[float]:
    *rgb, alpha = to_rgba(colour)
    return [alpha * channel + 1 - alpha for channel in rgb]


def test_marks_as_they_are_drawn_show_on_white(drawn: Any) -> None:
    assert contrast(on_white(("#ec6a00", 0.8))) == pytest.approx(2.54, abs=0.01)
    charts = drawn({"minimax": SCORED["minimax"], "hinge": SCORED["hinge"], "non_saturating": [3.0],
                    "wasserstein": [4.0], "least_squares": [5.0]})  # fmt: skip
    for name in ("scores", "tuned"):
        for axes in charts[name].figure.axes:
            colours = drawn_colours(axes)
            assert colours
            assert min(contrast(on_white(colour)) for colour in colours) >= 3, name


def test_marks_that_overlap_have_a_white_edge(drawn: Any) -> None:
    charts = drawn()
    for name in ("scores", "tuned"):
        marks = [each for each in charts[name].figure.axes[0].collections
                 if len(each.get_facecolors())]  # fmt: skip
        assert marks
        for each in marks:
            assert each.get_edgecolors().tolist() == [[1, 1, 1, 1]]
            assert min(each.get_linewidths()) > 0


def test_colour_is_never_the_only_mark(drawn: Any) -> None:
    styles = arm_styles([str(index) for index in range(7)]).values()
    for what in ("marker", "hatch"):
        assert len({getattr(style, what) for style in styles}) == 7
    importances = {"minimax": {"g_lr": 0.7, "d_lr": 0.3}, "hinge": {"g_lr": 0.4, "d_lr": 0.6}}
    charts = drawn({"minimax": SCORED["minimax"], "non_saturating": SCORED["hinge"]})
    panels = {axes.get_title(): axes for axes in charts["training"].figure.axes}
    lines = panels["probability that D gives"].get_lines()
    assert len({(line.get_linestyle(), line.get_marker()) for line in lines}) == 4
    assert all(len(line.get_xdata()[slice(*line.get_markevery(), None)]) for line in lines)
    bars = drawn(importances=importances)["importance"].figure.axes[0].patches
    assert len({bar.get_hatch() for bar in bars}) == 2

"""The table of what better scores have cost: every axis of every verdict."""

from __future__ import annotations

from harness.results.axes import ALARM, Axes
from harness.results.comparison import Comparison
from harness.results.factors import MarginalEffect
from harness.results.report.analysis import Analysis
from harness.results.report.table import Row, Table, row
from harness.results.spelling import NONE, number, p_text


def axes(analysis: Analysis) -> Table:
    """Return a row per verdict and axis; of marginal effects where these are what is tested."""
    margin = analysis.records.study.confirm.coverage_margin
    return Table(
        name="axes",
        caption=(
            "The other axes of every comparison: means over confirm runs, and P that a run of A "
            "has the better value. An arm beats another only where its score is better, its "
            f"coverage is shown to be no worse by {margin:g} (last column: the exact one-sided p "
            "of the arm with the better score), and it is not nearer to training than to held-out "
            f"images in more than {100 * ALARM:.0f} % of its samples; where either is not on "
            "record of all runs, none is said to. Failed runs rank worst on all. Stability: runs "
            "without a score, and the standard deviation of the others over seeds. The second "
            "ruler tuned and chose nothing."
        ),
        columns=("arms A against B: axis", "figure", "A", "B", "P(A better)", "p (no worse)"),
        rows=tuple(
            each
            for test in analysis.verdicts
            if test.axes
            for each in _rows(analysis, test, test.axes)
        ),
    )


def _rows(analysis: Analysis, test: Comparison | MarginalEffect, axes: Axes) -> list[Row]:
    name, runs = analysis.name_of(test), analysis.runs_of(test)
    rows = [
        row(
            f"{name}: {axis.name}",
            f"{axis.figure.label}, {axis.figure.direction()}",
            *(number(value) for value in axis.values),
            number(axis.superiority, places=2) if isinstance(axis.figure.best, str) else NONE,
            NONE if axis.noninferior_p is None else p_text(axis.noninferior_p),
            runs=runs,
        )
        for axis in axes.found
    ]
    stable = axes.stability
    sides = [
        f"{lost}/{total}, {number(spread)}"
        for lost, total, spread in zip(stable.lost, stable.runs, stable.spreads, strict=True)
    ]
    shown = sides if test.wins else sides[::-1]
    return [*rows, row(f"{name}: stability", "runs lost, sd", *shown, NONE, NONE, runs=runs)]

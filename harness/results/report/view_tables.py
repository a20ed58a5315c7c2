"""The table of other views of every comparison, and the sentences on those that turn it round."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from harness.results.report.analysis import Analysis
from harness.results.report.table import Table, row
from harness.results.report.views import BEYOND, View
from harness.results.spelling import NONE, joined, number, p_text


def view_table(analysis: Analysis, views: Sequence[View]) -> Table:
    """Return a row per comparison and view; none where nothing is compared."""
    label, beats = analysis.figure.label, analysis.figure.beats
    rows = [
        row(
            f"{analysis.name_of(view.main)}: {view.name}",
            view.at,
            *(_value(view, value) for value in view.values),
            number(view.superiority, places=2),
            p_text(None if view.main.p_value is None else view.p_value),
            _verdict(view),
            runs=analysis.runs_of(view.main),
        )
        for view in views
    ]
    return Table(
        name="views",
        caption=(
            "Other views of every comparison, exploratory and not adjusted. They are of validation "
            f"{label}, for test {label} exists at the end only. {_wins(beats)} is the share of "
            "pairs of runs that A wins, p the exact two-sided Mann–Whitney test, runs without a "
            "score ranking worst; none of seconds, which machines make: where the arms' seconds "
            "per image are not told apart by that test, neither is the order. At equal images, "
            "seconds or FLOPs: mean score where as much was spent as every run has spent, between "
            "evaluations on a logarithmic scale; where a run was first scored later, there, if "
            f"that is at most {BEYOND:g} times as far, and a run that had ended keeps its last "
            "score. To a score: median of what it took to the worse of both arms' median final "
            "scores. Mean over the curve: over the logarithm of images"
            f"{', of the logarithm of the score' * analysis.figure.log}. Seconds are each arm's "
            "median at every evaluation. FLOPs are matrix products and convolutions of training."
        ),
        columns=("arms A against B: view", "at", "A", "B", _wins(beats), "p", "the order"),
        rows=tuple(rows),
    )


def turned(analysis: Analysis, views: Sequence[View]) -> list[str]:
    """Return a sentence on each comparison that some view clearly turns round."""
    found = []
    for main, own in itertools.groupby(views, key=lambda view: view.main):
        turning = [view for view in own if view.turns_clearly]
        if turning:
            several = len(analysis.summary.comparisons) > 1
            which = f" of {main.arm} and {main.baseline}" * several
            found.append(_sentence(analysis.figure.label, turning, which))
    return found


def _sentence(label: str, turning: Sequence[View], which: str) -> str:
    first, *others = turning
    ahead = first.superiority > 0.5
    winner = first.main.arm if ahead else first.main.baseline
    wins = (first.superiority if ahead else 1 - first.superiority) * first.num_pairs
    values = [_value(first, value) for value in first.values]
    what = f"validation {label} " * (not first.is_spent)
    one, other = values if ahead else reversed(values)
    likewise = f"; likewise by {joined([view.name for view in others])}" * bool(others)
    return (
        f"{_lead(first)} the order{which} turns: {winner} wins {wins:g} of {first.num_pairs} pairs "
        f"({what}{one} against {other}{likewise})."
    )


def _lead(view: View) -> str:
    """Return how a sentence about a view begins."""
    if view.name.startswith("equal"):
        return f"At {view.name}"
    if view.is_spent:
        return f"By {view.name} ({view.at})"
    return f"By the {view.name}"


def _value(view: View, value: float | None) -> str:
    if value is None:
        return "never" if view.is_spent else NONE
    return view.spell(value)


def _verdict(view: View) -> str:
    if not view.is_told:
        return "not told"
    if view.main.superiority == 0.5 or view.superiority == 0.5:
        return NONE
    return "turns" if view.turns else "holds"


def _wins(beats: str) -> str:
    return f"P(A {beats} B)"

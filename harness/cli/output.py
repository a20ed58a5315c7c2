"""What commands print: progress while they work, and results as tables or JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.table import Table

    from harness.results.summary import StudySummary
    from harness.work.display import Display


def progress(quiet: bool) -> Callable[[str], Display]:
    """Return what makes a display of progress on stderr, given the name of a metric."""
    from rich.console import Console

    from harness.work.display import display

    return lambda metric: display(Console(stderr=True), metric, quiet=quiet)


def stdout() -> Console:
    """Return a console for tables."""
    from rich.console import Console

    console = Console()
    # Where nobody looks on, there is no width to fit into.
    return console if console.is_terminal else Console(width=160)


def print_json(value: object) -> None:
    """Print a result for other programs."""
    print(json.dumps(value, indent=2))


def summary_table(summary: StudySummary) -> Table:
    """Return where a study's arms stand."""
    from rich.table import Table

    from harness.results.spelling import setting_text
    from harness.results.summary import describe

    table = Table()
    score = f"test {summary.figure.label}"
    for column in ("arm", "search", "best validation", "confirm", "settings", score, "median"):
        table.add_column(column)
    for arm in summary.arms:
        settings = arm.settings or {}
        table.add_row(
            arm.name,
            ", ".join(f"{count} {state}" for state, count in arm.search_outcomes.items()) or "-",
            "-" if arm.best_validation is None else f"{arm.best_validation:.3g}",
            ", ".join(f"{count} {state}" for state, count in arm.confirm_outcomes.items()) or "-",
            ", ".join(f"{key} = {setting_text(value)}" for key, value in settings.items()) or "-",
            describe(arm) if arm.scores else "-",
            "-" if arm.median is None else f"{arm.median:.3g}",
        )
    return table


def print_summary(summary: StudySummary) -> None:
    """Print where a study stands, and its answer."""
    print(f"{summary.name}: {summary.question}")
    stdout().print(summary_table(summary))
    floor = "" if summary.floor is None else f"; real against real scores {summary.floor:.3g}"
    print(f"Metric: {summary.metric}, {summary.figure.direction()}{floor}.")
    for sentence in summary.answer():
        print(sentence)
    if summary.complete:
        print("The study is complete.")
    else:
        print("The study is not complete; the same `harness run` command goes on.")

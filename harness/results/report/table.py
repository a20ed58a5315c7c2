"""What a table is, before it is rendered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.results.report.records import RunRecord


@dataclass(frozen=True, kw_only=True)
class Row:
    """Cells in the columns' order, and the runs that their numbers come from."""

    cells: tuple[str, ...]
    run_ids: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        name: Short, unique; a LaTeX label and an anchor.
        caption: What the numbers are and how they were made.
        columns: Headings; the first column is text, the others are numbers.
        rows: Its rows.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def row(*cells: str, runs: Iterable[RunRecord | str] = ()) -> Row:
    """Return a row of cells that rest on these runs."""
    ids = tuple(run if isinstance(run, str) else run.run_id for run in runs)
    return Row(cells=cells, run_ids=ids)

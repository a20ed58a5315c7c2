"""What commands print: progress while they work, and results as tables or JSON."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.progress import watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from harness.work.display import Display
    from harness.work.standing import Page

LINE_SECONDS = 10.0  # between lines about one thing, where no bar can be drawn


class Preparation:
    """Shows what takes long before the first run: a bar on a terminal, now and then a line
    elsewhere.

    What is said is shown once, however often data are loaded.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: set[str] = set()
        self._bar: Progress | None = None
        self._told_at: dict[str, float] = {}

    def say(self, line: str) -> None:
        """Print a line."""
        if line not in self._said:
            self._said.add(line)
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def advance(self, what: str, done: int, total: int) -> None:
        """Show how far something is."""
        if not self._console.is_terminal:
            now = time.monotonic()
            if now - self._told_at.setdefault(what, now) > LINE_SECONDS:
                self._told_at[what] = now
                self._console.print(
                    f"{what}: {done:,} of {total:,}", markup=False, highlight=False, soft_wrap=True
                )
            return
        if self._bar is None:
            self._bar = _bar(self._console, what)
        self._bar.update(self._bar.task_ids[0], completed=done, total=total)
        if done == total:
            self.close()

    def close(self) -> None:
        """Take a bar away that something left when it failed."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar(console: Console, what: str) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    bar = Progress(*columns, console=console, transient=True)
    bar.add_task(what)
    bar.start()
    return bar


@contextmanager
def preparing(quiet: bool = False) -> Iterator[None]:
    """Show on stderr what the block prepares, unless `quiet`."""
    from rich.console import Console

    if quiet:
        yield
        return
    shown = Preparation(Console(stderr=True))
    try:
        with watched(shown):
            yield
    finally:
        shown.close()


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


def page_table(page: Page) -> Table:
    """Return the table of a study's arms."""
    from rich.table import Table

    table = Table(*page.columns)
    for row in page.rows:
        table.add_row(*row)
    return table


def print_page(page: Page) -> None:
    """Print where a study stands, and its answer."""
    print(page.title)
    stdout().print(page_table(page))
    print("\n".join(page.sentences))

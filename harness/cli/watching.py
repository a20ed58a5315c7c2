"""The command that shows a study while it is worked on."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from harness.cli.options import Plugins, StorageUrl, StudyName, TrackingUri, locate
from harness.cli.output import page_table, print_page, stdout

if TYPE_CHECKING:
    from rich.console import RenderableType

    from harness.results.status import StudyStatus


def watch(
    study: StudyName,
    tracking_uri: TrackingUri = None,
    storage: StorageUrl = None,
    plugins: Plugins = None,
) -> None:
    """Show a study while it runs, until it is complete or Ctrl-C; what is shown is noted."""
    from rich.live import Live

    from harness.results.status import follow

    looks = follow(study, locate(None, tracking_uri, storage))
    console = stdout()
    with contextlib.suppress(KeyboardInterrupt):
        status = next(looks)
        if console.is_terminal:
            with Live(_table(status), console=console, transient=True) as live:
                for status in looks:
                    live.update(_table(status), refresh=True)
        else:
            print(_line(status), flush=True)
            for later in looks:
                if later is not status:
                    print(_line(later), flush=True)
                status = later
        if status.summary.complete:
            print_page(status.page())


def _table(status: StudyStatus) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    page = status.page()
    return Group(Text(page.title), page_table(page), Text(_line(status)))


def _line(status: StudyStatus) -> str:
    """Return the time, how many runs have ended, those that run, and how long it will take."""
    from harness.results.arms import describe

    summary = status.summary
    scores = [f"{arm.name} {describe(arm)}" for arm in summary.arms if arm.scores]
    ended = sum(
        count
        for arm in summary.arms
        for outcomes in (arm.search_outcomes, arm.confirm_outcomes)
        for outcome, count in outcomes.items()
        if outcome not in ("waiting", "running")
    )
    parts = [f"{ended} runs have ended"]
    if scores:
        parts.append(f"test {summary.figure.label}: {', '.join(scores)}")
    if not summary.complete:
        running = ", ".join(status.running)
        parts.append(f"running: {running}" if running else "nobody works on it now")
    if status.remaining_seconds and status.running:
        minutes = status.remaining_seconds / len(status.running) / 60
        left = f"about {minutes:.0f} minutes" if minutes >= 1.5 else "about a minute or less"
        parts.append(f"left: {left}")
    return f"{time.strftime('%H:%M:%S')} {'; '.join(parts)}"

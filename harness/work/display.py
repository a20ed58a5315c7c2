"""What a person sees of a study that runs: bars on a terminal, one line per run elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Literal, Protocol, Self

from rich import progress as bars
from rich.console import Console
from rich.progress import (
    BarColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from harness.evaluate.metric import figure_of
from harness.run.loop import Progress
from harness.run.runner import RunResult
from harness.systems import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Event:
    """One piece of news from a worker.

    Attributes:
        kind: `started`, `progress` or `ended` for a run; `counts` for how far the study is; `note`
            for a line that says `reason`.
        worker: Which worker it comes from.
        run: What the run is called, e.g. "dc, search trial 3".
        share: Spent share of the run's budget (`progress`), in [0, 1].
        values: Current scores or losses (`progress`), final scores (`ended`).
        outcome: How the run ended.
        reason: Why it did not finish, or what a `note` says.
        counts: Phase -> (cells that have ended, cells that are needed) (`counts`).
        costs: Phase -> length of a cell, in full budgets (`counts`); 1 of phases that it lacks.
        cost: Length of this run, likewise.
    """

    kind: Literal["started", "progress", "ended", "counts", "note"]
    worker: int = 0
    run: str = ""
    share: float = 0.0
    values: Mapping[str, float] = field(default_factory=dict)
    outcome: str = ""
    reason: str | None = None
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    cost: float = 1.0


class Pace:
    """How far a study is, in full budgets, and how long the rest takes at the pace so far.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._before: float | None = None  # what had been done when this process began to look
        self._ended = 0.0
        self._running: dict[int, tuple[float, float]] = {}
        self.total = 0.0

    def hear(self, event: Event) -> None:
        """Take one event into account."""
        if event.kind == "counts":
            costs = {phase: event.costs.get(phase, 1.0) for phase in event.counts}
            self._ended = sum(costs[phase] * done for phase, (done, _) in event.counts.items())
            self.total = sum(costs[phase] * total for phase, (_, total) in event.counts.items())
            if self._before is None:
                self._before, self._started = self._ended, self._clock()
        elif event.kind in ("started", "progress"):
            self._running[event.worker] = (event.cost, event.share)
        elif event.kind == "ended":
            cost, _ = self._running.pop(event.worker, (event.cost, 1.0))
            self._ended += cost  # until the next counts say so

    @property
    def done(self) -> float:
        """What has been done, the shares of runs that go on included."""
        return self._ended + sum(cost * share for cost, share in self._running.values())

    @property
    def seconds_left(self) -> float | None:
        """None before anything has been done."""
        since = self.done - (self._before or 0.0)
        if since <= 0 or not self.total:
            return None
        return (self._clock() - self._started) / since * max(0.0, self.total - self.done)


def show_lone_run(
    shown: Display, phase: str, name: str, config: TrainConfig
) -> tuple[Event, Callable[[Progress, Mapping[str, float]], None]]:
    """Show that the only run of its kind starts; return that news and what shows its progress."""
    event = Event(kind="started", run=name)
    shown.show(Event(kind="counts", counts={phase: (0, 1)}))
    shown.show(event)

    def on_progress(progress: Progress, values: Mapping[str, float]) -> None:
        share = progress.share(config.budget)
        shown.show(replace(event, kind="progress", share=share, values=values))

    return event, on_progress


def ended(event: Event, result: RunResult) -> Event:
    """Return the news that the run of `event` has ended with `result`."""
    return replace(
        event,
        kind="ended",
        outcome=result.outcome,
        reason=result.reason,
        values=result.scores,
    )


class Display(Protocol):
    """Shows events while used as a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, event: Event) -> None:
        """Show one event."""


def display(console: Console, metric: str, *, quiet: bool = False) -> Display:
    """Return bars for a terminal, lines for anything else, nothing if `quiet`.

    Args:
        console: Where to show.
        metric: The key whose current value stands beside a bar.
        quiet: Whether to show nothing at all.
    """
    if quiet:
        return silent(metric)
    return _Bars(console, metric) if console.is_terminal else _Lines(console, metric)


def silent(metric: str) -> Display:
    """Return a display that shows nothing."""
    return _Silence()


class _Silence:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, event: Event) -> None:
        pass


class _Lines(_Silence):
    """One line per run that ends."""

    def __init__(self, console: Console, metric: str) -> None:
        self._console = console
        self._metric = metric
        self._started: dict[int, float] = {}
        self._count = (0, 0)
        self._pace = Pace()

    def show(self, event: Event) -> None:
        self._pace.hear(event)
        if event.kind == "counts":
            self._count = _sum(event.counts)
        elif event.kind == "note":
            self._console.print(event.reason, markup=False, highlight=False, soft_wrap=True)
        elif event.kind == "started":
            self._started[event.worker] = time.monotonic()
        elif event.kind == "ended":
            now = time.monotonic()
            seconds = now - self._started.get(event.worker, now)
            done, total = self._count
            left = _left(self._pace)
            self._console.print(
                f"[{done + 1}/{total}] {_ended(event, self._metric)} ({seconds:.0f} s{left})",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )


class _Bars(_Silence):
    """Bars for the study, for each phase's trials, and for every worker's steps."""

    def __init__(self, console: Console, metric: str) -> None:
        self._metric = metric
        self._pace = Pace()
        self._cells = (0, 0)
        self._progress = bars.Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._study = self._progress.add_task("study", total=None, note="")
        self._phases: dict[str, TaskID] = {}
        self._runs: dict[int, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def show(self, event: Event) -> None:
        self._pace.hear(event)
        if event.kind == "counts":
            self._cells = _sum(event.counts)
        done, total = self._cells
        self._progress.update(
            self._study,
            completed=self._pace.done,
            total=self._pace.total or None,
            note=f"{done}/{total}{_left(self._pace)}",
        )
        if event.kind == "counts":
            for phase, (done, total) in event.counts.items():
                if phase not in self._phases:
                    self._phases[phase] = self._progress.add_task(f"  {phase}", note="")
                self._progress.update(
                    self._phases[phase], completed=done, total=total, note=f"{done}/{total}"
                )
            return
        if event.kind == "note":
            self._progress.console.print(event.reason, markup=False, highlight=False)
            return
        if event.worker not in self._runs:
            self._runs[event.worker] = self._progress.add_task("", total=1.0, note="")
        task = self._runs[event.worker]
        if event.kind == "started":
            self._progress.reset(task, description=f"    {event.run}", total=1.0, note="")
        elif event.kind == "progress":
            if self._metric in event.values:
                self._progress.update(task, note=_spell(event.values, self._metric))
            self._progress.update(task, completed=event.share)
        else:
            self._progress.update(task, completed=1.0)
            self._progress.console.print(_ended(event, self._metric), markup=False, highlight=False)


def _sum(counts: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    return sum(done for done, _ in counts.values()), sum(total for _, total in counts.values())


def _left(pace: Pace) -> str:
    """Say how long the rest will take, or nothing where that is not known yet."""
    seconds = pace.seconds_left
    if not seconds:
        return ""
    if seconds < 90:
        return f", about {seconds:.0f} s left"
    return (
        f", about {seconds / 60:.0f} min left"
        if seconds < 5400
        else f", about {seconds / 3600:.1f} h left"
    )


def _ended(event: Event, metric: str) -> str:
    reason = f": {event.reason}" if event.reason else ""
    return f"{event.run}: {event.outcome}{reason} {_spell(event.values, metric)}".rstrip()


def _spell(values: Mapping[str, float], metric: str) -> str:
    return f"{figure_of(metric).label} {values[metric]:.4g}" if metric in values else ""

"""What a person sees of a running study, on a terminal and in a log."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest
from rich.console import Console

from harness.work.display import Display, Event, Pace, display, silent

METRIC = "validation/fid_digits_cnn_v1_400"


def story() -> Iterator[Event]:
    """Two workers, two phases; a run that finishes, one that diverges, one that fails."""
    yield Event(kind="counts", counts={"search": (0, 2), "confirm": (0, 10)})
    yield Event(kind="started", worker=0, run="mlp, search trial 0")
    yield Event(kind="started", worker=1, run="d_steps=1,dc, search trial 0")
    yield Event(kind="progress", worker=0, share=0.25, values={"d_loss": 1.0})
    yield Event(kind="progress", worker=0, share=0.5, values={METRIC: 12.3456})
    yield Event(
        kind="ended", worker=0, run="mlp, search trial 0", outcome="finished",
        values={METRIC: 7.891011},
    )  # fmt: skip
    yield Event(kind="counts", counts={"search": (1, 2), "confirm": (0, 10)})
    yield Event(
        kind="ended", worker=1, run="d_steps=1,dc, search trial 0", outcome="diverged",
        reason="d_loss is not finite [step 3]",
    )  # fmt: skip
    yield Event(kind="counts", counts={"search": (2, 2), "confirm": (0, 10)})
    yield Event(kind="started", worker=0, run="mlp, confirm seed 1")
    yield Event(kind="ended", worker=0, run="mlp, confirm seed 1", outcome="failed", reason="disk")
    yield Event(kind="counts", counts={"search": (2, 2), "confirm": (1, 10)})


def console(*, terminal: bool, width: int = 120) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=terminal, force_interactive=terminal, width=width
    )


def text(shown: Console) -> str:
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue()


def tell(shown: Display) -> None:
    with shown as entered:
        for event in story():
            entered.show(event)


@pytest.mark.parametrize("width", [120, 20])
def test_lines_say_one_thing_per_run(width: int) -> None:
    shown = console(terminal=False, width=width)
    tell(display(shown, METRIC))
    lines = text(shown).splitlines()
    assert [re.sub(r"\(\d+ s(, about \d+ \w+ left)?\)$", "(… s)", line) for line in lines] == [
        "[1/12] mlp, search trial 0: finished FID 7.891 (… s)",
        "[2/12] d_steps=1,dc, search trial 0: diverged: d_loss is not finite [step 3] (… s)",
        "[3/12] mlp, confirm seed 1: failed: disk (… s)",
    ]
    assert "\x1b" not in text(shown)


def test_lines_need_no_start_to_report_an_end() -> None:
    shown = console(terminal=False)
    with display(shown, METRIC) as entered:
        entered.show(Event(kind="ended", run="mlp, confirm seed 1", outcome="finished"))
    assert text(shown) == "[1/0] mlp, confirm seed 1: finished (0 s)\n"


@pytest.mark.parametrize("width", [120, 20])
def test_bars_show_phases_runs_and_the_score(width: int) -> None:
    shown = console(terminal=True, width=width)
    tell(display(shown, METRIC))
    output = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text(shown))
    assert "\x1b" in text(shown)
    if width == 120:
        for part in ("study", "search", "confirm", "3/12", "2/2", "1/10"):
            assert part in output
        assert "mlp, search trial 0: finished FID 7.891" in output
        assert "diverged: d_loss is not finite [step 3]" in output


def test_bars_show_the_current_score() -> None:
    shown = console(terminal=True)
    with display(shown, METRIC) as entered:
        entered.show(Event(kind="counts", counts={"search": (0, 2)}))
        entered.show(Event(kind="started", run="mlp, search trial 0"))
        entered.show(Event(kind="progress", share=0.5, values={METRIC: 12.3456}))
    output = text(shown)
    assert "FID 12.35" in output
    assert "50 %" in output


def test_bars_end_when_the_work_is_broken_off() -> None:
    shown = console(terminal=True)

    def work() -> None:
        with display(shown, METRIC) as entered:
            entered.show(Event(kind="started", run="mlp, search trial 0"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert text(shown).endswith("\x1b[?25h")  # the cursor is back


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_prints_nothing(terminal: bool) -> None:
    shown = console(terminal=terminal)
    tell(display(shown, METRIC, quiet=True))
    tell(silent(METRIC))
    assert text(shown) == ""


# How long the rest takes.


def test_the_rest_is_judged_by_what_was_done_in_full_budgets() -> None:
    now = [100.0]
    pace = Pace(lambda: now[0])
    costs = {"search": 0.5}
    pace.hear(Event(kind="counts", counts={"search": (2, 4), "confirm": (0, 3)}, costs=costs))
    assert pace.total == 5.0
    assert pace.seconds_left is None  # what was done before says nothing of the pace
    pace.hear(Event(kind="started", worker=0, cost=0.5))
    now[0] += 10
    pace.hear(Event(kind="progress", worker=0, cost=0.5, share=0.5))
    assert pace.done == 1.25
    assert pace.seconds_left == pytest.approx(10 / 0.25 * 3.75)
    now[0] += 10
    pace.hear(Event(kind="ended", worker=0, cost=0.5))
    assert pace.done == 1.5  # also before the next counts
    pace.hear(Event(kind="counts", counts={"search": (3, 4), "confirm": (0, 3)}, costs=costs))
    assert pace.done == 1.5
    assert pace.seconds_left == pytest.approx(20 / 0.5 * 3.5)


def test_a_time_is_shown_from_the_second_run_on_and_stays() -> None:
    shown = console(terminal=True, width=160)
    with display(shown, METRIC) as entered:
        for done in range(1, 4):
            entered.show(Event(kind="counts", counts={"search": (done - 1, 9)}))
            entered.show(Event(kind="started", run=f"run {done}"))
            entered.show(Event(kind="ended", run=f"run {done}", outcome="finished"))
    output = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text(shown))
    assert "-:--:--" not in output
    assert re.search(r"2/9, about \d+ s left", output)

"""What commands print of a study: its arms as a table, its answer in sentences."""

from __future__ import annotations

from harness.results.arms import ArmSummary, describe
from harness.results.spelling import setting_text
from harness.results.summary import StudySummary
from harness.work.standing import Page


def page_of(summary: StudySummary) -> Page:
    """Return what is printed of where a study stands."""
    floor = "" if summary.floor is None else f"; real against real scores {summary.floor:.3g}"
    stands = (
        "The study is complete."
        if summary.complete
        else "The study is not complete; the same `harness run` command goes on."
    )
    score = f"test {summary.figure.label}"
    return Page(
        title=f"{summary.name}: {summary.question}",
        columns=["arm", "search", "best validation", "confirm", "settings", score, "median"],
        rows=[_row(arm) for arm in summary.arms],
        sentences=[
            f"Metric: {summary.metric}, {summary.figure.direction()}{floor}.",
            *summary.answer(),
            *summary.on_axes(),
            stands,
        ],
    )


def _row(arm: ArmSummary) -> list[str]:
    settings = arm.settings or {}
    return [
        arm.name,
        ", ".join(f"{count} {state}" for state, count in arm.search_outcomes.items()) or "-",
        "-" if arm.best_validation is None else f"{arm.best_validation:.3g}",
        ", ".join(f"{count} {state}" for state, count in arm.confirm_outcomes.items()) or "-",
        ", ".join(f"{key} = {setting_text(value)}" for key, value in settings.items()) or "-",
        describe(arm) if arm.scores else "-",
        "-" if arm.median is None else f"{arm.median:.3g}",
    ]

"""What a study's own run in MLflow says of it."""

from __future__ import annotations

import json

from harness.records.tracking import TESTS, Tracker
from harness.results.comparison import Comparison
from harness.results.summary import StudySummary


def describe(run_id: str, summary: StudySummary, tracker: Tracker) -> None:
    """Let a study's own run say what its summary says; what an earlier one said of tests goes.

    Args:
        run_id: The run.
        summary: What has come of the study so far.
        tracker: Where the run is.
    """
    tracker.log_file(run_id, "summary.json", json.dumps(summary.to_json(), indent=2))
    tracker.describe_parent(run_id, _tests(summary))


def _tests(summary: StudySummary) -> dict[str, str]:
    """Return the study's p-values: tags, since MLflow lets nobody take a metric back."""
    return {
        f"{_place(comparison)}/{key}": str(float(p))
        for comparison in summary.comparisons
        for key, p in (("p_value", comparison.p_value), ("p_holm", comparison.p_holm))
        if p is not None
    }


def _place(comparison: Comparison) -> str:
    place = f"{TESTS}{comparison.arm}"
    return f"{place} against {comparison.baseline}" if comparison.contrast else place

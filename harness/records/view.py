"""How MLflow's pages show a study: which runs, in which order and colours, and which charts.

MLflow keeps a prepared view as JSON in a tag of the experiment, `mlflow.sharedViewState.NAME`, and
opens it where an address ends with `viewStateShareKey=NAME`. The keys of that JSON are those of its
own pages (read in the source of version 3.17).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness.run.runner import GRID_KEY

VIEW = "overview"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
COLOUR_TAG = "mlflow.runColor"
NOTE_TAG = "mlflow.note.content"
PICTURES_TAG = "mlflow.loggedImages"  # only runs with it are asked for their pictures
RECORD_TAG = "record"

MOST_PICTURES = (
    6  # runs whose pictures a chart shows: each draws the page anew, a fifth of a second
)
MOST_RUNS = 50  # pages load 100 runs, and take seconds to draw them

# Each has a contrast of at least 3 on white, and another lightness than the others: so they differ
# in grey and to the colour-blind too.
COLOURS = ("#003F88", "#EC6A00", "#006B4F", "#BC5087", "#4A0A3C", "#000000")

CLOSED = ("val", "test", "progress", "system")
"""Sections that MLflow makes by itself, opened where somebody wants them."""


def record(settings: Mapping[str, Any]) -> str:
    """Return all that is recorded of a run beside its scores, for `RECORD_TAG`."""
    return json.dumps({key: str(value) for key, value in settings.items()})


def recorded(params: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, str]:
    """Return the settings and facts of a run; early runs have them as params."""
    text = tags.get(RECORD_TAG)
    return dict(params) if text is None else dict(json.loads(text))


def arm_colour(index: int) -> str:
    """Return the colour of an arm by its place in the study, as in reports."""
    return COLOURS[index % len(COLOURS)]


def run_filter(num_arms: int, num_seeds: int) -> str:
    """Return the filter for confirm runs: of many, every arm's first ten, for quick pages."""
    condition = "tags.phase = 'confirm'"
    if num_arms * num_seeds > MOST_RUNS:
        condition += " and tags.trial LIKE '_'"  # one digit
    return condition


def pictured_trials(num_arms: int) -> int:
    """Return how many confirm runs of each arm have a place in the chart of pictures."""
    return max(1, MOST_PICTURES // num_arms)


def view_state(
    *, metric: str, objective: str, ascending: bool, columns: Sequence[str], runs: str, step: int
) -> str:
    """Return the view that MLflow opens on: confirm runs by arm, their curves, scores and samples.

    Args:
        metric: The key that arms are compared by, and runs sorted.
        objective: The key of the curve that stands first.
        ascending: Whether the lowest score comes first.
        columns: The table's, e.g. "tags.`seed`".
        runs: The filter.
        step: Where the slider of the samples starts, in images seen.
    """
    sections = [
        _section("Scores", columns=2, cardHeight=320),
        _section("Samples", columns=1, cardHeight=600),
        _section("train"),
        *(_section(name, display=False) for name in CLOSED),
    ]
    charts = [
        _chart("LINE", "Scores", objective, metricKey=objective, selectedMetricKeys=[objective]),
        _chart("BAR", "Scores", metric, metricKey=metric),
        _chart("IMAGE", "Samples", GRID_KEY, imageKeys=[GRID_KEY], step=step, showRunParams=False),
    ]
    state = {
        "searchFilter": runs,
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": ascending,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(columns),
        "columnOrder": [],
        "columnWidths": {},
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        # Charts of whole groups could not show pictures; an arm's runs share a colour instead.
        "useGroupedValuesInCharts": False,
        "hideEmptyCharts": True,
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": "arm"}],
        },
        "groupsExpanded": {},
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "selectedXAxisMetricKey": "",
        },
    }
    return json.dumps(state)


def _section(name: str, **settings: Any) -> dict[str, Any]:
    own = {"uuid": name, "name": name, "display": True, "isReordered": True}
    return own | {"deleted": False, "isGenerated": False} | settings


def _chart(kind: str, section: str, name: str, **settings: Any) -> dict[str, Any]:
    return {
        "uuid": f"{kind} {name}",
        "type": kind,
        "runsCountToCompare": MOST_RUNS,
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": False,
        "displayName": name,
        "xAxisKey": "step",
        "lineSmoothness": 0,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
        "scaleType": "linear",
        "xAxisScaleType": "linear",
        "range": {},
    } | settings

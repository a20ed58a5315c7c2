"""What MLflow's pages open on: a study's runs by arm, its question, its answer and its report."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.errors import HarnessError
from harness.records.tracking import Tracker
from harness.records.ui import run_page, study_page
from harness.records.view import (
    COLOUR_TAG,
    NOTE_TAG,
    PICTURES_TAG,
    VIEW_TAG,
    arm_colour,
    pictured_trials,
    run_filter,
    view_state,
)
from harness.records.workspace import Workspace
from harness.results.summary import StudySummary, summary_of
from harness.study.definition import Definition
from harness.study.ledger import Ledger
from harness.work.board import ArmState, OpenStudy, list_studies, open_study
from harness.work.cell import CellRecord, ended_runs
from harness.work.notes import note_opening

REPORT_FOLDER = "reports"  # of the parent run, a folder in it for each report


def report_file(title: str) -> str:
    """Return where a report is attached to a study's parent run."""
    return f"{REPORT_FOLDER}/{title}/report.html"


def open_pages(workspace: Workspace) -> dict[str, str]:
    """Prepare the pages of all studies and note that their test scores can now be read there.

    Returns:
        Name -> address of its page, from a server's root on; the study that was started first is
        the first one.
    """
    started: dict[str, tuple[float, str]] = {}
    tracker = Tracker(workspace)
    for name in list_studies(workspace):
        try:
            opened = open_study(name, workspace)
        except HarnessError:  # it needs a plugin, say
            started[name] = (0.0, study_page(tracker.open_experiment(name)))
            continue
        prepare_pages(opened, tracker, note_opening(opened, "harness ui"))
        definition = opened.definition
        started[name] = (definition.created, study_page(definition.experiment_id))
    return {name: started[name][1] for name in sorted(started, key=lambda name: started[name][0])}


def prepare_pages(opened: OpenStudy, tracker: Tracker, ledger: Ledger) -> None:
    """Prepare MLflow's pages for a study, whose test scores were noted as shown.

    Args:
        opened: The study.
        tracker: Where its runs are.
        ledger: What it remembers of its plan.
    """
    states = opened.board.states()
    write_pages(opened, tracker, states, summary_of(opened, states, ledger))


def write_pages(
    opened: OpenStudy, tracker: Tracker, states: Sequence[ArmState], summary: StudySummary
) -> None:
    """Write what they show, where arms and summary are known already."""
    definition = opened.definition
    experiment, parent = definition.experiment_id, definition.parent_run_id
    reports = tracker.folders(parent, REPORT_FOLDER)
    tags = {
        VIEW_TAG: _view(definition, states, summary, _last_pictures(states, tracker)),
        NOTE_TAG: _description(definition, summary, reports),
    }
    tracker.set_experiment_tags(experiment, tags)
    _mark_runs(tracker, experiment, [state.arm.name for state in states])


def mean_curves(
    definition: Definition, states: Sequence[ArmState], tracker: Tracker
) -> dict[str, list[tuple[int, float]]]:
    """Return what a study's own run charts, for each arm.

    These are the mean of the validation scores over its confirm runs, by images seen, and the mean
    of its test scores as its seeds come in, by how many those are.
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    for state in states:
        ended = [record for record in state.confirm if record.is_done]
        curves[f"{definition.objective}/{state.arm.name}"] = _over_images(
            ended, definition.objective, tracker
        )
        scores = [record.scores.get(definition.metric) for record in ended]
        known = [score for score in scores if score is not None]
        means = np.cumsum(known) / np.arange(1, len(known) + 1)
        curves[f"{definition.metric}/{state.arm.name}"] = [
            (number, float(mean)) for number, mean in enumerate(means, 1)
        ]
    return curves


def _over_images(
    records: Sequence[CellRecord], key: str, tracker: Tracker
) -> list[tuple[int, float]]:
    """Return the mean of a metric over runs wherever all of them have it."""
    found: dict[int, list[float]] = defaultdict(list)
    runs = ended_runs([record for record in records if record.scores])
    for run_id in runs:
        for step, value in tracker.history(run_id, key):
            found[step].append(value)
    return [(step, float(np.mean(y))) for step, y in sorted(found.items()) if len(y) == len(runs)]


def _last_pictures(states: Sequence[ArmState], tracker: Tracker) -> int:
    """Return after how many images most arms have a picture, the last such point; 0 without any."""
    runs = [next(iter(ended_runs(state.confirm)), None) for state in states]
    steps = Counter(step for run in runs if run is not None for step in tracker.grid_steps(run))
    return max(steps, key=lambda step: (steps[step], step), default=0)


def _view(
    definition: Definition, states: Sequence[ArmState], summary: StudySummary, step: int
) -> str:
    """Return the view of a study's confirm runs, whose pictures are shown at a step."""
    tuned = dict.fromkeys(key for state in states for key in state.arm.space)
    return view_state(
        metric=definition.metric,
        objective=definition.objective,
        ascending=summary.figure.best != "higher",
        columns=[
            *(f"metrics.`{key}`" for key in (definition.metric, definition.objective)),
            *(f"tags.`{key}`" for key in ("seed", "outcome")),
            *(f"params.`{key}`" for key in tuned),
        ],
        runs=run_filter(len(states), definition.study.confirm.seeds),
        step=step,
    )


def _description(definition: Definition, summary: StudySummary, reports: Sequence[str]) -> str:
    """Return links, question and answer as Markdown, of which pages show one line at first."""
    place, parent = definition.experiment_id, definition.parent_run_id
    links = [
        f"[Report{'' if title == summary.name else f' of {_plain(title)}'}]"
        f"({run_page(place, parent, report_file(title)).removeprefix('/')})"
        for title in sorted(reports, key=lambda title: title != summary.name)
    ] or [f"No report yet (`harness report {summary.name}`)"]
    curves = run_page(place, f"{parent}/model-metrics").removeprefix("/")
    links.append(f"[All arms side by side]({curves})")
    answer = " ".join(f"{_plain(sentence)}." for sentence in summary.answer())
    return f"{' · '.join(links)} · **{_plain(summary.question)}** {answer}"


def _plain(text: str) -> str:
    """Return a text that Markdown shows as it is."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", text)


def _mark_runs(tracker: Tracker, experiment: str, arms: Sequence[str]) -> None:
    """Give runs their arm's colour, and let the chart of pictures show runs of every arm.

    It shows the first ten runs that say that they have pictures: so only the first seeds do, whose
    runs have a place there. The others' pictures are among their artifacts.
    """
    pictured = pictured_trials(len(arms))
    for run in tracker.runs(experiment):
        tags: dict[str, Any] = run.data.tags
        if tags.get("arm") not in arms:
            continue
        if COLOUR_TAG not in tags:
            tracker.set_tags(run.info.run_id, {COLOUR_TAG: arm_colour(arms.index(tags["arm"]))})
        later = tags["phase"] == "confirm" and int(tags["trial"]) >= pictured
        if later and PICTURES_TAG in tags and run.info.status != "RUNNING":
            tracker.remove_tag(run.info.run_id, PICTURES_TAG)

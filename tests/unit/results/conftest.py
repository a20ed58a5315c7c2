"""Studies as their summary and report find them, made of nothing but how their runs ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from harness.config import parse
from harness.results.report.records import RunRecord, StudyRecords
from harness.run.execution import Execution
from harness.study.definition import Definition
from harness.study.ledger import Ledger
from harness.study.study import StudyConfig
from harness.work.board import ArmState
from harness.work.cell import Cell, CellRecord

METRIC, OBJECTIVE = "test/fid_digits_cnn_v1_400", "val/fid_digits_cnn_v1_400"
UNHARMED = {"test/coverage_digits_cnn_v1_400": 0.8, "test/memorised_digits_cnn_v1_400": 0.5}
"""What nobody's verdict stumbles over."""
PARAMS = {
    "batch_size": "16", "device": "cpu", "threads": "1", "precision": "float32",
    "budget.images": "640", "evaluate.samples": "400", "evaluate.extractor": "digits_cnn_v1",
    "evaluate.num_features": "64", "evaluate.extractor_sha256": "abc123",
    "evaluate.kid_subsets": "20", "evaluate.kid_subset_size": "200",
}  # fmt: skip
Results = Sequence[float | str]
Edit = Callable[[RunRecord], RunRecord]


def _make_study(**changes: Any) -> StudyConfig:
    """Return a study of two losses with other tables."""
    raw = {
        "question": "Which loss?",
        "dataset": "digits",
        "compare": {"loss": ["minimax", "hinge"]},
        "space": {"g_lr": {"low": 1e-4, "high": 1e-2, "log": True}},
        "search": {"trials_per_arm": 4},
        "budget": {"images": 640},
    }
    return parse(StudyConfig, raw | changes, "study.toml")


def _make_run(arm: str, phase: str, trial: int, result: float | str, **facts: Any) -> RunRecord:
    """Return a run that ended with this score, or in this way; a confirm run has it on test too."""
    metrics = {"progress/train_seconds": 2.0 + trial}
    if not isinstance(result, str):
        metrics |= {OBJECTIVE: result}
        metrics |= {METRIC: result, **UNHARMED} if phase == "confirm" else {}
    run_id = f"{arm}-{phase}-{trial}"
    given: dict[str, Any] = {
        "run_id": run_id, "study": "mine", "arm": arm, "phase": phase, "trial": trial,
        "seed": trial, "outcome": result if isinstance(result, str) else "finished", "reason": "",
        "used": True, "params": PARAMS, "metrics": metrics, "tags": {"version.torch": "2.11.0"},
        "page": f"http://127.0.0.1:5000/#/runs/{run_id}", "started": 0, "images_seen": 640,
    }  # fmt: skip
    return RunRecord(**given | facts)


def _make_cell(run: RunRecord, point: Any) -> CellRecord:
    """Return the cell that such a run was made for."""
    is_ended = run.outcome not in ("waiting", "running")
    return CellRecord(
        cell=Cell(key=str(run.trial), point=point, seeds=[run.seed], trial=run.trial),
        state="complete" if is_ended and run.outcome != "failed" else run.outcome,  # type: ignore[arg-type]
        outcome=run.outcome if is_ended else None,  # type: ignore[arg-type]
        value=run.score(OBJECTIVE),
        scores={key: value for key, value in run.metrics.items() if key.startswith("test/")},
        run_ids={run.seed: run.run_id} if run.outcome != "waiting" else {},
    )


def _make_runs(
    study: str, arm: str, phase: str, results: Results, points: Sequence[Any], edit: Edit
) -> list[RunRecord]:
    """Return an arm's runs of a phase, at these points."""
    return [
        edit(
            _make_run(
                arm, phase, trial, result, study=study,
                params=PARAMS | {key: str(value) for key, value in points[trial].items()},
            )
        )
        for trial, result in enumerate(results)
    ]  # fmt: skip


def _make_records(
    confirm: Mapping[str, Results],
    search: Mapping[str, Results] | None = None,
    study: StudyConfig | None = None,
    *,
    name: str = "mine",
    best: Mapping[str, Any] | None = None,
    importances: Mapping[str, Mapping[str, float]] | None = None,
    extra: Sequence[RunRecord] = (),
    edit: Edit = lambda run: run,
) -> StudyRecords:
    """Return a study whose arms have these runs.

    Args:
        confirm: Arm -> what its confirm runs came to: a score, or how they ended without one.
        search: The same of its trials, at the study's points.
        study: Its file; the arms are losses if there is none.
        name: Its name.
        best: What every tuned arm confirms; the last trial's if left out.
        importances: Arm -> tuned parameter -> importance.
        extra: More runs, which no cell knows of.
        edit: What is done to every run first.
    """
    study = study or _make_study(compare={"loss": list(confirm)})
    states, runs = [], list(extra)
    for arm in study.arms():
        points = study.points(arm) if arm.space else []
        settings = (points[-1] if best is None else best) if arm.space else {}
        results, trials = confirm[arm.name], (search or {}).get(arm.name, ())
        tried = _make_runs(name, arm.name, "search", trials, points, edit)
        again = _make_runs(name, arm.name, "confirm", results, [settings] * len(results), edit)
        searched = tuple(_make_cell(each, points[each.trial]) for each in tried)
        runs += [each for each in tried + again if each.outcome != "waiting"]
        states.append(
            ArmState(
                arm=arm, search=searched, best=settings,
                search_done=all(record.is_done for record in searched),
                confirm=tuple(_make_cell(each, settings) for each in again),
            )
        )  # fmt: skip
    definition = Definition(
        study=study, execution=Execution(device="cpu", threads=1), experiment_id="1",
        parent_run_id="parent", metric=METRIC, objective=OBJECTIVE, floor=0.5,
        dataset_digest="d1", created=0.0,
    )  # fmt: skip
    return StudyRecords(
        name=name, definition=definition, states=tuple(states), runs=tuple(runs),
        profile={"train": 900, "validation": 400, "test": 300}, importances=importances or {},
        parts={name: study}, ledgers={name: Ledger()},
    )  # fmt: skip


@pytest.fixture(scope="session")
def make_study() -> Callable[..., StudyConfig]:
    """Return the function that makes studies of losses."""
    return _make_study


@pytest.fixture(scope="session")
def make_run() -> Callable[..., RunRecord]:
    """Return the function that makes a run of how it ended."""
    return _make_run


@pytest.fixture(scope="session")
def make_records() -> Callable[..., StudyRecords]:
    """Return the function that makes a study of how its runs ended."""
    return _make_records

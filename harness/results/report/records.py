"""What a report is made from: the runs of one or several studies, read once."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.config import parse
from harness.data import Kind, kind_named
from harness.errors import HarnessError
from harness.records.recorder import FLOORS_FILE
from harness.records.tracking import Tracker, logged_dataset, settings_of
from harness.records.ui import run_page, ui_address
from harness.records.workspace import Workspace
from harness.study.budget import is_by_preset
from harness.study.definition import Definition
from harness.study.ledger import Ledger
from harness.study.study import StudyConfig
from harness.systems import Budget
from harness.work.board import ArmState, open_study
from harness.work.cell import ended_runs
from harness.work.notes import note_display

SCORED = ("finished", "collapsed")
SECONDS, FLOPS, LOAD = "progress/train_seconds", "progress/flops", "progress/load"
JUDGE = "evaluate.judge"  # the second ruler, in what is recorded of a run
Curves = Mapping[str, Mapping[str, Sequence[tuple[int, float]]]]
"""Run id -> metric -> (images seen, value) in order."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run as MLflow has it.

    Attributes:
        run_id: MLflow's id.
        study: Its study.
        arm: Its arm, by the name that it has in the report.
        phase: `search` or `confirm`.
        trial: Number of the search trial, or of the confirm run.
        seed: Its training seed.
        outcome: How it ended, or `running`.
        reason: Why it did not finish.
        used: Whether the study's tables count it: not where a later run took its place.
        params: Every setting and fact, as text.
        metrics: Last value of every metric.
        tags: Versions, commit, host and the like.
        page: Address of its page in MLflow's UI.
        started: When, in milliseconds.
        images_seen: Real images that its system took.
    """

    run_id: str
    study: str
    arm: str
    phase: str
    trial: int
    seed: int
    outcome: str
    reason: str
    used: bool
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    page: str
    started: int
    images_seen: int

    def score(self, key: str) -> float | None:
        """Return a final score; None for a run that did not come to its end."""
        return self.metrics.get(key) if self.outcome in SCORED else None

    @property
    def train_seconds(self) -> float:
        """Seconds of training, evaluation excluded."""
        return self.metrics.get(SECONDS, 0.0)

    @property
    def plugins(self) -> str:
        """What it was trained with beyond the harness, or "none"."""
        named = {key: self.tags[key] for key in sorted(self.tags) if key.startswith("plugin.")}
        return ", ".join(f"{key.removeprefix('plugin.')} {named[key]}" for key in named) or "none"


@dataclass(frozen=True, kw_only=True)
class StudyRecords:
    """One study.

    Attributes:
        name: Its name.
        definition: What was stored when it was started.
        states: Where its arms stand.
        runs: All its runs, arm by arm.
        profile: Sizes of the dataset's parts.
        importances: Arm -> tuned parameter -> importance; empty where trials are too few.
        parts: The studies that were put together here, by name; one if it stands alone.
        ledgers: What these remember of their plans, by name.
    """

    name: str
    definition: Definition
    states: tuple[ArmState, ...]
    runs: tuple[RunRecord, ...]
    profile: Mapping[str, Any]
    importances: Mapping[str, Mapping[str, float]]
    parts: Mapping[str, StudyConfig]
    ledgers: Mapping[str, Ledger]

    @property
    def study(self) -> StudyConfig:
        """Its file; the first one's where several were put together."""
        return self.definition.study

    @property
    def ledger(self) -> Ledger:
        """What the study remembers of its plan, if it is one study."""
        return self.ledgers.get(self.name, Ledger())

    @property
    def kind(self) -> Kind:
        """What kind of samples it is about."""
        return kind_named(self.study.dataset)

    @property
    def is_joint(self) -> bool:
        """Whether several studies were put together, after the fact."""
        return len(self.parts) > 1

    @property
    def chosen(self) -> str:
        """When it was chosen what to compare."""
        return "put together after the fact" if self.is_joint else "fixed in advance"

    @property
    def random_search(self) -> bool:
        """Whether the order of the search's trials means nothing."""
        searches = [study.search for study in self.parts.values()]
        return all(each.sampler == "random" and each.pruner == "none" for each in searches)

    @property
    def search_share(self) -> float | None:
        """A search run's share of the full budget; None where studies differ in it."""
        shares = {study.search.budget_share for study in self.parts.values()}
        return shares.pop() if len(shares) == 1 else None


def check_known(names: Sequence[str], workspace: Workspace) -> None:
    """Raise HarnessError for an unknown study, before any store is created."""
    for name in names:
        open_study(name, workspace)


def load_records(name: str, workspace: Workspace, tracker: Tracker) -> StudyRecords:
    """Read a study.

    Raises:
        HarnessError: There is no such study, none of its runs has ended with a score, or MLflow
            lacks one that has.
    """
    opened = open_study(name, workspace)
    definition, states = opened.definition, tuple(opened.board.states())
    ledger = note_display(opened, states, "harness report")
    order = {state.arm.name: index for index, state in enumerate(states)}
    used = {
        run_id
        for state in states
        for record in (*state.search, *state.confirm)
        for run_id in record.run_ids.values()
    }
    experiment = definition.experiment_id
    found = [
        run
        for run in tracker.runs(experiment)
        if run.data.tags.get("study") == name and run.data.tags.get("arm") in order
    ]
    ended = {run for state in states for run in ended_runs((*state.search, *state.confirm))}
    if missing := ended - {run.info.run_id for run in found}:
        raise HarnessError(
            f"MLflow lacks the run {min(missing)} that study {name!r} refers to: restore it there"
        )
    scored = [
        run for run in found if run.info.run_id in ended and run.data.tags.get("outcome") in SCORED
    ]
    if not scored:
        raise HarnessError(f"study {name!r} has no finished run yet; nothing to report")
    profile = json.loads(logged_dataset(scored[0]).profile or "{}")
    one_of = {run.data.tags["arm"]: run.info.run_id for run in reversed(scored)}
    floors = {arm: _floors(run_id, tracker) for arm, run_id in one_of.items()}
    runs = [
        RunRecord(
            run_id=run.info.run_id,
            study=name,
            arm=run.data.tags["arm"],
            phase=run.data.tags["phase"],
            trial=int(run.data.tags["trial"]),
            seed=int(run.data.tags["seed"]),
            outcome=run.data.tags.get("outcome", "running"),
            reason=run.data.tags.get("reason", ""),
            used=run.info.run_id in used,
            params=settings_of(run),
            metrics={**floors.get(run.data.tags["arm"], {}), **run.data.metrics},
            tags=run.data.tags,
            page=ui_address(workspace) + run_page(experiment, run.info.run_id),
            started=run.info.start_time,
            images_seen=round(run.data.metrics.get("progress/epochs", 0) * profile.get("train", 0)),
        )
        for run in found
    ]
    runs.sort(key=lambda run: (order[run.arm], run.phase != "search", run.trial, run.seed))
    return StudyRecords(
        name=name,
        definition=definition,
        states=states,
        runs=tuple(runs),
        profile=profile,
        importances=opened.board.importances(),
        parts={name: definition.study},
        ledgers={name: ledger},
    )


def _floors(run_id: str, tracker: Tracker) -> Mapping[str, float]:
    """Return what real images score beside a run's figures; early runs have it as metrics."""
    text = tracker.attached(run_id, FLOORS_FILE, lambda file: file.read_text())
    return {} if text is None else dict(json.loads(text))


def check_same_protocol(studies: Sequence[StudyRecords]) -> None:
    """Refuse to put scores side by side that were not made alike.

    Raises:
        HarnessError: Data, metric, evaluation or, where arms are ranked, budget differ; names the
            first difference.
    """
    first = studies[0]
    ranked = not any(records.study.descriptive for records in studies)
    for other in studies[1:]:
        for (key, one), another in zip(
            _protocol(first).items(), _protocol(other).values(), strict=True
        ):
            if one != another and (ranked or key != "budget"):
                raise HarnessError(
                    f"{key} differs: {one} in study {first.name!r}, {another} in study "
                    f"{other.name!r}; arms are compared only where they agree"
                )


def _protocol(records: StudyRecords) -> dict[str, object]:
    study, definition = records.study, records.definition
    return {
        "dataset": study.dataset,
        "dataset digest": definition.dataset_digest,
        "image_size": study.fixed.get("image_size"),
        "metric": definition.metric,
        "feature extractor": _extractor(records.runs),
        "KID subsets": study.evaluate.kid_subsets,
        "evaluations per run": study.evaluate.times,
        "budget": budget_text(records) if is_by_preset(study.budget) else study.budget.describe(),
    }


def _extractor(runs: Sequence[RunRecord]) -> str:
    key = "evaluate.extractor_sha256"
    return next((run.params[key] for run in runs if key in run.params), "unknown")


def merge(studies: Sequence[StudyRecords]) -> StudyRecords:
    """Return one study's records as they are, or several as one whose arms are named `STUDY: arm`.

    The first study's question and baseline lead; nothing is ranked where one study ranks nothing.
    """
    if len(studies) == 1:
        return studies[0]
    first = studies[0]
    states = tuple(
        replace(state, arm=replace(state.arm, name=joint_name(records, state.arm.name)))
        for records in studies
        for state in records.states
    )
    runs = tuple(
        replace(run, arm=joint_name(records, run.arm))
        for records in studies
        for run in records.runs
    )
    importances = {
        joint_name(records, arm): shares
        for records in studies
        for arm, shares in records.importances.items()
    }
    name = "+".join(records.name for records in studies)
    descriptive = any(records.study.descriptive for records in studies)
    study = first.study.model_copy(update={"descriptive": descriptive})
    return replace(
        first,
        definition=first.definition.model_copy(update={"study": study}),
        name=name,
        states=states,
        runs=runs,
        importances=importances,
        parts={records.name: records.study for records in studies},
        ledgers={records.name: records.ledger for records in studies},
    )


def joint_name(records: StudyRecords, arm: str) -> str:
    """Return an arm's name in a report of several studies."""
    return f"{records.name}: {arm}"


def budget_text(records: StudyRecords, share: float = 1.0) -> str:
    """Return a run's budget in words, by arm where arms have budgets of their own."""
    arms: dict[str, list[str]] = {}
    for state in records.states:
        budget = parse(Budget, state.arm.settings["budget"], f"arm {state.arm.name!r}")
        arms.setdefault(budget.scaled(share).describe(), []).append(state.arm.name)
    if len(arms) == 1:
        return next(iter(arms))
    return "; ".join(f"{text} ({', '.join(names)})" for text, names in arms.items())


def runs_csv(runs: Sequence[RunRecord], curves: Curves, objective: str) -> str:
    """Return every run with every setting and final metric as CSV, one line per run.

    Settings are named `param.KEY`, metrics `metric.KEY`; numbers have all their digits. The last
    columns, `curve.KEY`, have a confirm run's validation scores as `images:value`, separated by
    spaces, and likewise what it had spent by then.
    """
    facts = ["run_id", "study", "arm", "phase", "trial", "seed", "outcome", "reason", "used"]
    params = list(dict.fromkeys(key for run in runs for key in run.params))
    metrics = sorted({key for run in runs for key in run.metrics if not key.startswith("system/")})
    tags = sorted(
        {key for run in runs for key in run.tags if key.startswith(("version.", "plugin."))}
    )
    tags.append("mlflow.source.git.commit")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [f"param.{key}" for key in params] + [f"metric.{key}" for key in metrics]
    kept = [objective, SECONDS, FLOPS]
    writer.writerow(facts + columns + tags + [f"curve.{key}" for key in kept])
    for run in runs:
        own = curves.get(run.run_id, {})
        scored = {step for step, _ in own.get(objective, ())}
        writer.writerow(
            [getattr(run, fact) for fact in facts]
            + [run.params.get(key, "") for key in params]
            + [run.metrics.get(key, "") for key in metrics]
            + [run.tags.get(key, "") for key in tags]
            + [
                " ".join(f"{step}:{value!r}" for step, value in own.get(key, ()) if step in scored)
                for key in kept
            ]
        )
    return text.getvalue()

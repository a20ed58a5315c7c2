"""Launching: a study from file to answer, and a single run by hand."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.data import check_unchanged
from harness.data.pictures import REAL_FILE
from harness.errors import HarnessError, recording
from harness.evaluate import EvaluateConfig
from harness.plugins import check_plugins, plugin_hashes, plugin_sources
from harness.records.tracking import Tracker
from harness.records.workspace import Workspace
from harness.results.browse import mean_curves, write_pages
from harness.results.continuing import check_defaults
from harness.results.parent import describe
from harness.results.power import check_power, power_of
from harness.results.status import keeping, try_to_keep
from harness.results.summary import StudySummary, summary_of
from harness.run.bench import Bench, run_facts
from harness.run.execution import Execution, cpu_threads, resolve_device, resolve_threads
from harness.run.precision import Asked, choose_precision, warning
from harness.run.runner import RunResult, run
from harness.study.arm import Arm
from harness.study.definition import Definition
from harness.study.file import check_extension
from harness.study.ledger import Ledger
from harness.study.space import corner_points
from harness.study.study import StudyConfig
from harness.systems import TrainConfig
from harness.work.board import OpenStudy, count_cells, is_complete
from harness.work.display import Display, Event, ended, show_lone_run, silent
from harness.work.estimate import estimate_seconds, start_seconds
from harness.work.notes import note_display, note_repeats, note_retry, register
from harness.work.plan import Plan, set_up_bench, set_up_lone_bench
from harness.work.pool import check_workers, count_workers, work_side_by_side
from harness.work.queue import Storage
from harness.work.worker import Worker, ended_in_any_case

SHOWN_BY = "harness run"
AFRESH = "--name NEW --set seed=1000 starts afresh, with other seeds"


def run_study(
    name: str,
    study: StudyConfig,
    workspace: Workspace,
    *,
    device: str = "auto",
    threads: int | None = None,
    workers: int | None = 1,
    retry_failed: bool = False,
    underpowered: bool = False,
    source: str | None = None,
    display: Callable[[str], Display] = silent,
) -> StudySummary:
    """Run a study to its end, or continue it: the same call picks up what an earlier one left.

    Args:
        name: The study's name; an experiment in MLflow.
        study: Its file.
        workspace: Where things live.
        device: `auto`, `cpu` or `cuda`; `auto` keeps what the study was started with.
        threads: CPU threads per run; None keeps what it was started with, or divides the cores.
        workers: Processes that train side by side; None: as many as cores and memory allow, of one
            thread each.
        retry_failed: Whether to run cells again that failed with an error.
        underpowered: Whether to start a study that no result could ever resolve.
        source: The study file's text, for the record.
        display: Given the validation metric's key, makes what shows the progress.

    Raises:
        HarnessError: Before anything is written, whatever is wrong with the request.
        KeyboardInterrupt: After all states have been recorded; the same call goes on.
    """
    arms = study.arms()
    storage = Storage(workspace) if Storage.exists(workspace) else None
    known = storage.studies.definition(name) if storage else None
    execution = _execution(name, known, device, threads, workers)
    if storage is not None and known is not None:
        check_plugins(known.plugins, f"study {name!r}", exactly=True)
        check_extension(name, known.study, study)
        opened = OpenStudy.of(name, known.model_copy(update={"study": study}), storage)
        states = opened.board.states()
        if known.study == study and is_complete(states) and not retry_failed:
            return summary_of(opened, states, note_display(opened, states, SHOWN_BY))
    check_workers(workers, execution)
    if not underpowered and (known is None or known.study != study):
        check_power(study, arms, all_the_same="--underpowered")
    if known is not None:
        check_unchanged(
            study.dataset,
            workspace.data_dir,
            study.fixed.get("image_size"),
            cache_dir=workspace.cache,
            digest=known.dataset_digest,
            owner=f"study {name!r} was started on",
            advice="use --name for a new study",
        )
        check_defaults(name, states, Tracker(workspace))
    with cpu_threads(execution.threads):
        reason, execution, bench = _set_up(known, study, arms, execution, workspace)
        floor = bench.floor if known is None else known.floor

    # From here on things are written.
    storage = storage or Storage(workspace)
    tracker = Tracker(workspace)
    experiment = tracker.open_experiment(name)
    tags = {
        "question": study.question,
        "baseline": study.baseline_arm,
        **({"precision_reason": reason} if reason else {}),
        **{key: str(value) for key, value in execution},
    }
    parent = tracker.open_parent(experiment, name, bench.dataset, tags)
    tracker.log_file(parent, "study.json", study.model_dump_json(indent=2))
    if source is not None:
        tracker.log_file(parent, "study.toml", source)
    kind, density = bench.dataset.kind, bench.dataset.density
    real = bench.evaluator.real_images("test", kind.num_shown)
    tracker.log_picture(parent, kind.picture(real, density), REAL_FILE)
    definition = Definition(
        study=study,
        execution=execution,
        precision_reason=reason,
        experiment_id=experiment,
        parent_run_id=parent,
        metric=bench.metric,
        objective=bench.objective,
        floor=floor,
        dataset_digest=bench.dataset.digest,
        created=time.time() if known is None else known.created,
        plugins=plugin_hashes(),
        extractor=bench.evaluator.describe()["extractor"],
        extractor_back=bench.back.describe()["extractor"] if bench.back else "",
    )
    # The plan comes first: what has a definition can be worked on.
    opened = OpenStudy.of(name, definition, storage)
    if known is None:
        storage.studies.start(name)
    register(opened, source, known=known.study if known else None)
    storage.studies.write(name, definition)
    states = opened.board.states()
    ledger = note_repeats(opened, states, storage.studies.ledger(name))
    if retry_failed:
        ledger = note_retry(opened, states, ledger)
    states = opened.board.prepare(retry_failed=retry_failed)

    # Work, and sum up whatever comes of it.
    with recording(f"study {name!r}"):
        describe(parent, summary_of(opened, states, ledger), tracker)
        try:
            with display(bench.objective) as shown:
                for line in _opening(definition, bench, ledger, new=known is None):
                    shown.show(Event(kind="note", reason=line))
                if not is_complete(states):
                    left = sum(total - done for done, total in count_cells(study, states).values())
                    number = count_workers(workers, execution, left)
                    plan = Plan(
                        name=name,
                        definition=definition,
                        workspace=workspace,
                        plugins=plugin_sources(),
                        workers=number,
                    )
                    tell = keeping(opened, workspace, shown.show)
                    tell(None)
                    if number > 1:
                        work_side_by_side(plan, number, tell)
                    else:
                        with cpu_threads(execution.threads):
                            Worker(plan, bench, tell).work()
        except BaseException:
            with contextlib.suppress(Exception):  # what stopped the study is told, not what follows
                _sum_up(opened, tracker, workspace)
            raise
        return _sum_up(opened, tracker, workspace)


def _opening(definition: Definition, bench: Bench, ledger: Ledger, *, new: bool) -> Iterator[str]:
    """Yield what is to be said before the first run."""
    precision = definition.execution.precision
    if definition.study.precision != "float32":
        line = f"training in {precision}: {definition.precision_reason}"
        yield line if new else f"{line} (when the study started){warning(precision, bench)}"
    if ledger.spoilt:
        yield f"there will be no p, since {ledger.spoilt}; {AFRESH}"


def _sum_up(opened: OpenStudy, tracker: Tracker, workspace: Workspace) -> StudySummary:
    """Note on the study's own run what has come of it so far."""
    states, parent = opened.board.states(), opened.definition.parent_run_id
    ledger = note_display(opened, states, SHOWN_BY)
    summary = summary_of(opened, states, ledger)
    describe(parent, summary, tracker)
    curves = mean_curves(opened.definition, states, tracker)
    tracker.close_parent(parent, summary.complete, curves)
    write_pages(opened, tracker, states, summary)
    try_to_keep(opened, workspace)
    return summary


def _known_definition(name: str, workspace: Workspace) -> Definition | None:
    """Read an existing study without creating a database for a new one."""
    return Storage(workspace).studies.definition(name) if Storage.exists(workspace) else None


def plan_execution(
    name: str, workspace: Workspace, device: str, threads: int | None, workers: int | None
) -> Execution:
    """Return how a study is, or would be, executed; of a new one the precision is still open.

    Raises:
        HarnessError: The device does not exist, the study was started in another way, or there are
            fewer cores than threads.
    """
    known = _known_definition(name, workspace)
    return _execution(name, known, device, threads, workers)


def _execution(
    name: str, known: Definition | None, device: str, threads: int | None, workers: int | None
) -> Execution:
    if known is None:
        device = resolve_device(device)
        return Execution(device=device, threads=resolve_threads(threads, device, workers))
    execution = known.execution
    for key, asked in (("device", None if device == "auto" else device), ("threads", threads)):
        started = getattr(execution, key)
        if asked is not None and asked != started:
            raise HarnessError(
                f"--{key} {asked}: study {name!r} was started with {started} and keeps it; give a "
                "new study a name of its own with --name"
            )
    resolve_device(execution.device)
    return execution


def _set_up(
    known: Definition | None,
    study: StudyConfig,
    arms: Sequence[Arm],
    execution: Execution,
    workspace: Workspace,
) -> tuple[str, Execution, Bench]:
    """Return how a study trains, why in that precision, and its bench.

    A study that is known keeps its feature extractor and its precision.
    """
    if known is not None:
        bench = set_up_bench(known.pin(study), arms, execution, workspace)
        return known.precision_reason, execution, bench
    bench = set_up_bench(study, arms, execution, workspace)
    return _in_precision(study.precision, _shapes(arms), execution, bench)


def _shapes(arms: Sequence[Arm]) -> dict[str, list[TrainConfig]]:
    """Return each arm's run at its defaults, then one for each other shape that is tuned."""
    runs: dict[str, list[TrainConfig]] = {}
    for arm in arms:
        by_shape: dict[str, TrainConfig] = {}
        for point in (arm.defaults, *corner_points(arm.space)):
            config = arm.config(point, seed=0)
            # A rate or a probability changes no shape.
            kept = {key: value for key, value in config if not isinstance(value, float)}
            by_shape.setdefault(repr(kept), config)
        runs[arm.name] = list(by_shape.values())
    return runs


def _in_precision(
    asked: Asked, configs: Mapping[str, Sequence[TrainConfig]], execution: Execution, bench: Bench
) -> tuple[str, Execution, Bench]:
    """Choose a precision; return why, and how to train in it."""
    choice = choose_precision(asked, configs, bench)
    execution = execution.model_copy(update={"precision": choice.precision})
    return choice.reason, execution, replace(bench, precision=choice.precision)


def preview(
    name: str, study: StudyConfig, workspace: Workspace, execution: Execution, workers: int | None
) -> dict[str, Any]:
    """Return what a study would run, as JSON values: arms, runs, refusals and estimated hours.

    No run is trained or recorded; a few steps of every arm are timed. With impossible arms it says
    what the others would do, and nothing of tests where fewer than two or no baseline are left.
    """
    arms, refused = study.possible_arms()
    if not arms:
        raise HarnessError(next(iter(refused.values())))
    start = start_seconds()
    known = _known_definition(name, workspace)
    check_workers(workers, execution)
    with cpu_threads(execution.threads):
        reason, execution, bench = _set_up(known, study, arms, execution, workspace)
        seconds = estimate_seconds(study, arms, bench)
    rows: list[dict[str, Any]] = [
        {
            "name": arm.name,
            "search_runs": len(study.points(arm)) * study.search.seeds if arm.space else 0,
            "confirm_runs": study.confirm.seeds,
            "tuned": list(arm.space),
            "hours": seconds[arm.name] / 3600,
        }
        for arm in arms
    ]
    runs = sum(row["search_runs"] + row["confirm_runs"] for row in rows)
    number = count_workers(workers, execution, runs)
    start_of_workers = start if number > 1 else 0.0  # side by side
    is_comparable = len(arms) > 1 and study.baseline_arm not in refused
    return {
        "arms": rows,
        "refused": refused,
        "runs": runs,
        "hours": sum(row["hours"] for row in rows) / number + (start + start_of_workers) / 3600,
        "workers": number,
        **execution.model_dump(),
        "precision_reason": reason,
        "metric": bench.metric,
        **power_of(study, arms if is_comparable else ()),
    }


def train_once(
    config: TrainConfig,
    evaluate: EvaluateConfig,
    workspace: Workspace,
    *,
    device: str = "auto",
    threads: int | None = None,
    precision: Asked = "float32",
    experiment: str = "train",
    display: Callable[[str], Display] = silent,
) -> tuple[str, RunResult]:
    """Train one run by hand, recorded like any other, and return its MLflow run id and result.

    Raises:
        HarnessError: Before anything is written, whatever is wrong with the request.
    """
    config.check_budget()
    device = resolve_device(device)
    execution = Execution(device=device, threads=resolve_threads(threads, device))
    with cpu_threads(execution.threads):
        bench = set_up_lone_bench(config, evaluate, execution, workspace)
        name = f"{config.system} seed {config.seed}"
        reason, execution, bench = _in_precision(precision, {name: [config]}, execution, bench)
        tracker = Tracker(workspace)
        recorder = tracker.start_run(
            tracker.open_experiment(experiment),
            name,
            config,
            bench.dataset,
            tags={"phase": "train", "seed": config.seed, "precision_reason": reason},
            facts=run_facts(config, execution, bench),
        )
        checkpoint = workspace.checkpoints / f"{recorder.run_id}.pt"
        with display(bench.objective) as shown:
            if precision != "float32":
                line = f"training in {execution.precision}: {reason}"
                shown.show(Event(kind="note", reason=line))
            event, on_progress = show_lone_run(shown, "train", name, config)
            try:
                with recording(name), ended_in_any_case(recorder):
                    result = run(
                        config,
                        bench,
                        recorder,
                        checkpoint=checkpoint,
                        final_splits=("validation", "test"),
                        on_progress=on_progress,
                    )
                    recorder.finish(result)
            finally:
                checkpoint.unlink(missing_ok=True)
            shown.show(ended(event, result))
    return recorder.run_id, result

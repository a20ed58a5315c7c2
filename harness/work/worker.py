"""Workers: processes that take a study's cells, train them, and settle them until none is left."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import flatten
from harness.errors import recording
from harness.records.recorder import RunRecorder
from harness.records.tracking import Tracker
from harness.records.view import arm_colour
from harness.run.bench import Bench, run_facts
from harness.run.loop import Progress, milestone_share
from harness.run.runner import RunResult, Stop, run
from harness.signals import uninterrupted
from harness.study.arm import Arm, varied_settings
from harness.systems import TrainConfig
from harness.work.board import ArmState, Board, count_cells, is_complete
from harness.work.cell import Phase, settings_hash
from harness.work.display import Event, ended
from harness.work.plan import Plan
from harness.work.queue import Claim, Storage

IDLE_SECONDS = 0.5
LONGEST_IDLE_SECONDS = 4.0
PROGRESS_EVENT_SECONDS = 0.2
PRUNED_FROM = 0.1
"""Share of a run's budget before which nothing is pruned."""


class Worker:
    """Takes cells and runs them until the study is complete.

    Args:
        plan: The study.
        bench: Its data and metric.
        tell: Called with news.
        index: This worker's number.
    """

    def __init__(
        self, plan: Plan, bench: Bench, tell: Callable[[Event], None], index: int = 0
    ) -> None:
        self._plan = plan
        self._bench = bench
        self._tell = tell
        self._index = index
        self._tracker = Tracker(plan.workspace)
        self._study = plan.definition.study
        self._board = Board(Storage(plan.workspace), plan.name, self._study, plan.definition.metric)
        self._varied = varied_settings(self._board.arms)

    def work(self) -> None:
        """Run cells; where none is free but others still run, wait to take over or to confirm."""
        idle_seconds = IDLE_SECONDS
        while True:
            with uninterrupted():
                states = self._board.prepare()
            self._tell_counts(states)
            if self._work_on_one(states):
                idle_seconds = IDLE_SECONDS
            elif is_complete(states):
                return
            else:
                _check_parent()
                time.sleep(idle_seconds)
                idle_seconds = min(1.5 * idle_seconds, LONGEST_IDLE_SECONDS)

    def _work_on_one(self, states: Sequence[ArmState]) -> bool:
        """Take a cell and settle it; return whether there was one."""
        with contextlib.ExitStack() as held:
            with uninterrupted():  # between a claim and its release nobody would hold the cell
                work = self._board.claim(states)
                if work is None:
                    return False
                claim, arm, phase = work
                held.enter_context(recording(f"{arm.name}, {phase} {claim.cell.trial}"))
                held.enter_context(_released_if_it_fails(claim))
            self._train(claim, arm, phase)
        return True

    def _tell_counts(self, states: Sequence[ArmState]) -> None:
        counts = count_cells(self._study, states)
        costs = {"search": self._study.search.budget_share * self._study.search.seeds}
        self._tell(Event(kind="counts", worker=self._index, counts=counts, costs=costs))

    def _train(self, claim: Claim, arm: Arm, phase: Phase) -> None:
        """Train a claimed cell's seeds, each under an MLflow run, and settle it with their mean."""
        study, bench = self._study, self._bench
        share = study.search.budget_share if phase == "search" else 1.0
        done: dict[str, dict[str, Any]] = dict(claim.recall("done") or {})
        news: list[Event] = []  # told when it is noted: what is told is never trained again
        result: RunResult | None = None
        for seed in claim.cell.seeds:
            if str(seed) in done:
                continue
            config = arm.config(claim.cell.point or {}, seed, share)
            label = f"{arm.name}, {phase} {claim.cell.trial}, seed {seed}"
            event = Event(kind="started", worker=self._index, run=label, cost=share)
            self._tell(event)
            with contextlib.ExitStack() as recorded:
                with uninterrupted():  # a record that is begun is ended in any case
                    recorder = self._recorder(claim, arm, phase, config)
                    recorded.enter_context(ended_in_any_case(recorder))
                result = run(
                    config,
                    bench,
                    recorder,
                    checkpoint=self._checkpoint(recorder.run_id),
                    final_splits=("validation",) if phase == "search" else ("validation", "test"),
                    on_evaluation=self._pruner(claim, phase, done),
                    on_progress=self._watcher(claim, event, config),
                )
                with uninterrupted():
                    recorder.finish(result)
            news.append(ended(event, result))
            if not result.scores:
                break
            done[str(seed)] = {"outcome": result.outcome, "scores": dict(result.scores)}
            claim.remember("done", done)
        with uninterrupted():
            self._settle(claim, done, result)
        for event in news:
            self._tell(event)
        for run_id in dict(claim.recall("runs") or {}).values():
            self._checkpoint(run_id).unlink(missing_ok=True)

    def _settle(
        self, claim: Claim, done: Mapping[str, Mapping[str, Any]], result: RunResult | None
    ) -> None:
        """Note what became of a cell whose last run, if any was needed, had this result."""
        if result is not None and result.outcome == "failed":
            claim.fail(result.reason or "unknown")
        elif result is not None and not result.scores:
            claim.prune(result.outcome, result.reason)
        else:
            collapsed = any(each["outcome"] == "collapsed" for each in done.values())
            scores = _means([each["scores"] for each in done.values()])
            value = scores[self._bench.objective]
            claim.complete("collapsed" if collapsed else "finished", value, scores)

    def _pruner(
        self, claim: Claim, phase: Phase, done: Mapping[str, Mapping[str, Any]]
    ) -> Callable[[int, float], bool]:
        """Return what asks Optuna whether to stop, judging by the seeds so far.

        It counts milestones from `PRUNED_FROM` on; earlier ones say too little of the end.
        """
        times = self._bench.times
        early = sum(milestone_share(each, times) < PRUNED_FROM for each in range(1, times + 1))
        earlier = [each["scores"][self._bench.objective] for each in done.values()]

        def on_evaluation(index: int, score: float) -> bool:
            if phase == "confirm" or index <= early:
                return False
            mean = sum([*earlier, score]) / (len(earlier) + 1)
            return claim.report(len(earlier) * (times - early) + index - early, mean)

        return on_evaluation

    def _watcher(
        self, claim: Claim, started: Event, config: TrainConfig
    ) -> Callable[[Progress, Mapping[str, float]], None]:
        """Return what shows a run's progress, and stops it where it is ours no more."""
        told_at = 0.0

        def on_progress(progress: Progress, values: Mapping[str, float]) -> None:
            nonlocal told_at
            claim.check()
            _check_parent()
            now = time.monotonic()
            if now - told_at > PROGRESS_EVENT_SECONDS or self._bench.objective in values:
                told_at = now
                share = progress.share(config.budget)
                self._tell(replace(started, kind="progress", share=share, values=values))

        return on_progress

    def _checkpoint(self, run_id: str) -> Path:
        return self._plan.workspace.checkpoints / f"{run_id}.pt"

    def _recorder(self, claim: Claim, arm: Arm, phase: Phase, config: TrainConfig) -> RunRecorder:
        runs: dict[str, str] = dict(claim.recall("runs") or {})
        seed = str(config.seed)
        if seed in runs:
            return self._tracker.resume_run(runs[seed])
        trial = f"search {claim.cell.trial} " if phase == "search" else ""
        recorder = self._tracker.start_run(
            self._plan.definition.experiment_id,
            f"{arm.name} {trial}seed {seed}",
            config,
            self._bench.dataset,
            tags={
                "study": self._plan.name,
                "arm": arm.name,
                "phase": phase,
                "trial": claim.cell.trial,
                "seed": seed,
                "settings": settings_hash(claim.cell.point or {}),
            },
            facts=flatten({"level": dict(arm.levels)})
            | {"machine.workers": self._plan.workers}
            | run_facts(config, self._plan.definition.execution, self._bench),
            varied=self._varied,
            colour=arm_colour(self._board.arms.index(arm)),
            parent=self._plan.definition.parent_run_id,
        )
        try:
            claim.remember("runs", runs | {seed: recorder.run_id})
        except BaseException:
            recorder.interrupt()
            raise
        return recorder


@contextlib.contextmanager
def _released_if_it_fails(claim: Claim) -> Iterator[None]:
    """Hand a cell back that something beside its runs' own results has stopped."""
    try:
        yield
    except Stop:
        return  # it has another holder now
    except BaseException:
        with contextlib.suppress(Exception):  # a lease that cannot be given back expires
            claim.release()
        raise


@contextlib.contextmanager
def ended_in_any_case(recorder: RunRecorder) -> Iterator[None]:
    """Leave no record behind that claims to be running."""
    try:
        yield
    except Stop:
        recorder.abandon()
        raise
    except BaseException:
        with contextlib.suppress(Exception):  # what stopped the run is told, not what follows
            recorder.interrupt()
        raise


def _means(scores: list[Mapping[str, float]]) -> dict[str, float]:
    """Return the means of the figures that all seeds have."""
    shared = [key for key in scores[0] if all(key in each for each in scores)]
    return {key: float(np.mean([each[key] for each in scores])) for key in shared}


def _check_parent() -> None:
    """End a worker whose parent process is gone: nobody would see or stop it any more."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        raise KeyboardInterrupt

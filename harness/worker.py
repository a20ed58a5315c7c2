"""Workers: processes that take a study's cells, train them, and settle them until none is left."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from harness.board import Board
from harness.config import EvaluateConfig, TrainConfig
from harness.errors import HarnessError
from harness.progress import Display, Event, ended
from harness.runner import Bench, RunResult, Stop, run
from harness.search import Claim, Phase, Storage, settings_hash
from harness.space import corner_points
from harness.statistics import mean_and_sd
from harness.study import Arm, StudyConfig
from harness.systems import GAN
from harness.tracking import RunRecorder, Tracker, flatten
from harness.train import Progress
from harness.workspace import Workspace

IDLE_SECONDS = 0.5
PROGRESS_EVENT_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a study's runs are executed: resolved once, stored, and used by every worker.

    Attributes:
        device: `cpu` or `cuda`.
        threads: CPU threads per run; another number changes the last digits of every result.
    """

    device: str
    threads: int

    @property
    def precision(self) -> str:
        """Of the arithmetic in training; on CUDA torch rounds convolutions' inputs to TF32."""
        return "float32" if self.device == "cpu" else "float32, convolutions tf32"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a worker process needs.

    Attributes:
        name: The study's name.
        study: Its file.
        execution: How runs are executed.
        workspace: Where things live.
        experiment_id: MLflow's experiment.
        parent_run_id: MLflow's parent run.
    """

    name: str
    study: StudyConfig
    execution: Execution
    workspace: Workspace
    experiment_id: str
    parent_run_id: str


def set_up_bench(
    study: StudyConfig, arms: Sequence[Arm], execution: Execution, workspace: Workspace
) -> Bench:
    """Load a study's data and metric, and check every arm against the data's shape."""
    bench = Bench.set_up(
        study.dataset,
        study.fixed.get("image_size"),
        study.evaluate,
        data_dir=workspace.data_dir,
        cache_dir=workspace.cache,
        device=torch.device(execution.device),
    )
    for arm in arms:
        for point in (*study.points(arm), *corner_points(arm.space)):
            arm.config(point or {}, seed=0).check_shape(bench.dataset.sample_shape)
    return bench


def set_up_lone_bench(
    config: TrainConfig, evaluate: EvaluateConfig, execution: Execution, workspace: Workspace
) -> Bench:
    """Load one run's data and metric, and check its config against the data's shape."""
    bench = Bench.set_up(
        config.dataset,
        config.image_size,
        evaluate,
        data_dir=workspace.data_dir,
        cache_dir=workspace.cache,
        device=torch.device(execution.device),
    )
    config.check_shape(bench.dataset.sample_shape)
    return bench


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


def work_side_by_side(plan: Plan, bench: Bench, workers: int, shown: Display) -> None:
    """Work in this process, or in several; return when nothing is left to do."""
    if workers == 1:
        with cpu_threads(plan.execution.threads):
            Worker(plan, bench, shown.show).work()
        return
    context = multiprocessing.get_context("spawn")
    events: Any = context.Queue()
    processes = [
        context.Process(target=_worker_process, args=(plan, index, events))
        for index in range(workers)
    ]
    try:
        with _deaf_to_interrupts():  # children inherit it: only this process answers Ctrl-C
            for process in processes:
                process.start()
        _show_until_ended(processes, events, shown)
    except BaseException:
        for process in processes:
            process.terminate()
        _show_until_ended(processes, events, shown)
        raise
    codes = [process.exitcode for process in processes]
    if all(codes):
        raise HarnessError(
            f"all workers stopped early (exit codes {codes}); the same command goes on"
        )


def _show_until_ended(processes: Sequence[BaseProcess], events: Any, shown: Display) -> None:
    """Show news until every process has ended; one with unread news could not."""
    while any(process.is_alive() for process in processes) or not events.empty():
        try:
            shown.show(events.get(timeout=IDLE_SECONDS))
        except queue.Empty:
            continue


def _worker_process(plan: Plan, index: int, events: Any) -> None:
    """Work as one of several processes, until done or told to end by the parent."""
    signal.signal(signal.SIGTERM, _interrupt)
    torch.set_num_threads(plan.execution.threads)
    try:
        bench = set_up_bench(plan.study, plan.study.arms(), plan.execution, plan.workspace)
        Worker(plan, bench, events.put, index).work()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except HarnessError as error:
        raise SystemExit(f"error: {error}") from None


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are not ours to handle here
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


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
        self._board = Board(Storage(plan.workspace), plan.name, plan.study)

    def work(self) -> None:
        """Run cells; where none is free but others still run, wait to take over or to confirm."""
        while True:
            self._board.prepare()
            self._tell_counts()
            work = self._board.claim()
            if work is not None:
                self._settle(*work)
            elif self._board.is_complete:
                return
            else:
                _check_parent()
                time.sleep(IDLE_SECONDS)

    def _tell_counts(self) -> None:
        search = [0, 0]
        confirm = [0, 0]
        for state in self._board.states():
            search[0] += sum(record.is_done for record in state.search)
            search[1] += len(state.search)
            confirm[0] += sum(record.is_done for record in state.confirm)
            # Which cells these will be is known once the search is done.
            expected = self._plan.study.confirm.seeds
            confirm[1] += len(state.confirm) if state.search_done else expected
        counts = {"search": (search[0], search[1]), "confirm": (confirm[0], confirm[1])}
        self._tell(Event(kind="counts", worker=self._index, counts=counts))

    def _settle(self, claim: Claim, arm: Arm, phase: Phase) -> None:
        """Run a claimed cell's seeds and settle the claim with their mean."""
        try:
            self._run_seeds(claim, arm, phase)
            for run_id in dict(claim.recall("runs") or {}).values():
                self._checkpoint(run_id).unlink(missing_ok=True)
        except Stop:
            return  # the cell has another holder now
        except BaseException:
            claim.release()
            raise

    def _run_seeds(self, claim: Claim, arm: Arm, phase: Phase) -> None:
        done: dict[str, dict[str, Any]] = dict(claim.recall("done") or {})
        news: list[Event] = []  # told when it is noted: what is told is never trained again
        for seed in claim.cell.seeds:
            if str(seed) in done:
                continue
            earlier = [each["scores"] for each in done.values()]
            result, event = self._run(claim, arm, phase, seed, earlier)
            news.append(event)
            if not result.scores:
                if result.outcome == "failed":
                    claim.fail(result.reason or "unknown")
                else:
                    claim.prune(result.outcome, result.reason)
                self._tell_all(news)
                return
            done[str(seed)] = {"outcome": result.outcome, "scores": dict(result.scores)}
            claim.remember("done", done)
        results = list(done.values())
        collapsed = any(each["outcome"] == "collapsed" for each in results)
        scores = _means([each["scores"] for each in results])
        claim.complete(
            "collapsed" if collapsed else "finished", scores[self._bench.objective], scores
        )
        self._tell_all(news)

    def _tell_all(self, events: list[Event]) -> None:
        for event in events:
            self._tell(event)

    def _run(
        self,
        claim: Claim,
        arm: Arm,
        phase: Phase,
        seed: int,
        earlier: list[Mapping[str, float]],
    ) -> tuple[RunResult, Event]:
        """Train one seed of a cell under its MLflow run; return the result and the news of it."""
        study, bench = self._plan.study, self._bench
        share = study.search.budget_share if phase == "search" else 1.0
        config = arm.config(claim.cell.point or {}, seed, share)
        recorder = self._recorder(claim, arm, phase, config)
        label = f"{arm.name}, {phase} {claim.cell.trial}, seed {seed}"
        event = Event(kind="started", worker=self._index, run=label)
        self._tell(event)
        told_at = 0.0

        def on_evaluation(index: int, fid: float) -> bool:
            if phase == "confirm":
                return False
            values = [scores[bench.objective] for scores in earlier] + [fid]
            return claim.report(len(earlier) * bench.times + index, sum(values) / len(values))

        def on_progress(progress: Progress, values: Mapping[str, float]) -> None:
            nonlocal told_at
            claim.check()
            _check_parent()
            now = time.monotonic()
            if now - told_at > PROGRESS_EVENT_SECONDS or bench.objective in values:
                told_at = now
                shown = replace(
                    event, kind="progress", share=progress.share(config.budget), values=values
                )
                self._tell(shown)

        try:
            result = run(
                config,
                bench,
                recorder,
                checkpoint=self._checkpoint(recorder.run_id),
                final_splits=("validation",) if phase == "search" else ("validation", "test"),
                on_evaluation=on_evaluation,
                on_progress=on_progress,
            )
            recorder.finish(result)
        except Stop:
            recorder.abandon()
            raise
        except BaseException:
            recorder.interrupt()
            raise
        return result, ended(event, result)

    def _checkpoint(self, run_id: str) -> Path:
        return self._plan.workspace.checkpoints / f"{run_id}.pt"

    def _recorder(self, claim: Claim, arm: Arm, phase: Phase, config: TrainConfig) -> RunRecorder:
        runs: dict[str, str] = dict(claim.recall("runs") or {})
        seed = str(config.seed)
        if seed in runs:
            return self._tracker.resume_run(runs[seed])
        recorder = self._tracker.start_run(
            self._plan.experiment_id,
            f"{arm.name} {phase} {claim.cell.trial} seed {seed}",
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
            params=flatten({"level": dict(arm.levels)})
            | run_params(config, self._plan.execution, self._bench),
            parent=self._plan.parent_run_id,
        )
        try:
            claim.remember("runs", runs | {seed: recorder.run_id})
        except BaseException:
            recorder.interrupt()
            raise
        return recorder


def run_params(config: TrainConfig, execution: Execution, bench: Bench) -> dict[str, Any]:
    """Return what is recorded of a run beside its config: size, device, threads and protocol."""
    protocol = {f"evaluate.{key}": value for key, value in bench.evaluator.describe().items()}
    sizes = GAN(config, bench.dataset.sample_shape, bench.device).num_parameters()
    facts = asdict(execution) | {"precision": execution.precision}
    facts |= {f"parameters.{network}": number for network, number in sizes.items()}
    return facts | {"evaluate.times": bench.times} | protocol


def _means(scores: list[Mapping[str, float]]) -> dict[str, float]:
    return {key: mean_and_sd([each[key] for each in scores])[0] for key in scores[0]}


def _check_parent() -> None:
    """End a worker whose parent process is gone: nobody would see or stop it any more."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        raise KeyboardInterrupt


@contextmanager
def cpu_threads(number: int) -> Iterator[None]:
    """Run a block with a number of CPU threads and put the old number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)

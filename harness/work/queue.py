"""Optuna, and nothing but Optuna: the only file that imports it.

A study's work is a set of cells: one per search trial and one per confirm run. A cell is an Optuna
trial that is enqueued up front and claimed with ask/tell, whatever the sampler, so that every arm
gets exactly its share. A claim holds a lease that a thread renews; an expired one is taken over,
and Optuna's state transitions decide who wins. What one process starts, another can finish.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import optuna
import sqlalchemy
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from harness.errors import HarnessError
from harness.randomness import derive_seed
from harness.records.provenance import without_password
from harness.records.sqlite import lock_at_begin, prepare_sqlite, sqlite_file
from harness.records.workspace import Workspace
from harness.run.runner import Outcome
from harness.study.space import Choice, Space
from harness.work.cell import Cell, CellRecord, CellState, Phase
from harness.work.lease import LEASE_SECONDS, Lease, has_ended
from harness.work.studies import SEPARATOR, Studies

FEWEST_FOR_IMPORTANCE = 20  # scored trials; below them a random forest fits anything

Direction = Literal["minimize", "maximize"]

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Storage:
    """The Optuna database of a workspace.

    Args:
        workspace: Says where it is.
        create: Whether to create a local database that does not exist.

    Attributes:
        studies: What it keeps of whole studies.

    Raises:
        HarnessError: It cannot be opened.
    """

    def __init__(self, workspace: Workspace, *, create: bool = True) -> None:
        url = workspace.storage_url
        file = sqlite_file(url)
        if file is not None and not file.exists() and not create:
            raise HarnessError(
                f"there are no studies in {file.parent} yet: start one with `harness run`"
            )
        prepare_sqlite(url)
        try:
            arguments = {"connect_args": {"timeout": 60}} if file is not None else {}
            self._storage = optuna.storages.RDBStorage(url, engine_kwargs=arguments)
            if file is not None:
                lock_at_begin(self._storage.engine)
            self.studies = Studies(self._storage.engine)
        except (sqlalchemy.exc.SQLAlchemyError, ImportError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            if isinstance(error.__cause__, ImportError):  # Optuna hides which one
                reason = f"install its driver ({error.__cause__})"
            raise HarnessError(
                f"Optuna's database {without_password(url)} cannot be used: {reason}"
            ) from None

    @staticmethod
    def exists(workspace: Workspace) -> bool:
        """Return whether there is a database: a server's is taken to be there."""
        file = sqlite_file(workspace.storage_url)
        return file is None or file.exists()

    def queue(
        self,
        study: str,
        arm: str,
        phase: Phase,
        *,
        direction: Direction = "minimize",
        objective: str = "score",
        space: Space | None = None,
        pruner: str = "none",
        sampler_seed: int = 0,
    ) -> Queue:
        """Return the cells of one arm in one phase, whose value dashboards call `objective`."""
        pruners: dict[str, optuna.pruners.BasePruner] = {
            "none": optuna.pruners.NopPruner(),
            "median": optuna.pruners.MedianPruner(n_startup_trials=4),
            "halving": optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
        }
        place: dict[str, Any] = {"storage": self._storage, "pruner": pruners[pruner]}
        place["study_name"] = SEPARATOR.join((study, arm, phase))
        try:  # so that looking at a study writes nothing
            optuna_study = optuna.load_study(**place)
        except KeyError:
            optuna_study = optuna.create_study(**place, direction=direction, load_if_exists=True)
            with warnings.catch_warnings(action="ignore"):  # Optuna's, of what is experimental
                optuna_study.set_metric_names([objective])
        return Queue(optuna_study, space or {}, derive_seed(sampler_seed, arm))


class Queue:
    """The cells of one arm in one phase, held by one Optuna study."""

    def __init__(self, study: optuna.Study, space: Space, seed: int) -> None:
        self._study = study
        self._distributions = {key: _distribution(space[key]) for key in space}
        self._seed = seed

    def prepare(
        self, cells: Sequence[Cell], *, retry_failed: bool = False
    ) -> dict[str, CellRecord]:
        """Enqueue every expected cell that is neither waiting, running nor done; idempotent.

        Returns:
            What is known of every cell afterwards, by key.
        """
        known = self.records()
        missing = [
            cell
            for cell in cells
            if cell.key not in known or (known[cell.key].state == "failed" and retry_failed)
        ]
        for cell in missing:
            self._enqueue(cell.point, _attributes(cell))
        return self.records() if missing else known

    def claim(self) -> Claim | None:
        """Take a waiting cell, or one whose holder has gone silent; None if there is none."""
        self._take_over_expired()
        while self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            trials = self._study.get_trials(deepcopy=False)
            started = sum(trial.state != TrialState.WAITING for trial in trials)
            # Seeded by what has been started: one worker's search is reproducible, two workers
            # that ask at once differ.
            seed = derive_seed(
                self._seed, "tpe", started, os.getpid() if multiprocessing.parent_process() else 0
            )
            self._study.sampler = optuna.samplers.TPESampler(seed=seed % 2**32)
            trial = self._study.ask(self._distributions)
            attrs = trial.user_attrs
            if "key" not in attrs:  # another worker was quicker, and Optuna made a trial up
                self._study.tell(trial, state=TrialState.FAIL)
                return None
            if self._is_duplicate(trial.number, attrs["key"]):
                self._study.tell(trial, state=TrialState.FAIL)
                continue
            return Claim(self, trial)
        return None

    def records(self) -> dict[str, CellRecord]:
        """Return what is known of every cell, by key."""
        best: dict[str, tuple[int, FrozenTrial]] = {}
        for trial in self._study.get_trials(deepcopy=False):
            key = trial.user_attrs.get("key")
            rank = _standing(trial)
            if key is not None and rank > 0 and rank > best.get(key, (0, trial))[0]:
                best[key] = (rank, trial)
        return {key: _record(trial) for key, (_, trial) in best.items()}

    def importances(self, *, log: bool) -> dict[str, float]:
        """Return each tuned parameter's share of the variance of the scores, by fANOVA; or nothing.

        fANOVA, since no parameter of an arm's space is conditional on another. It needs two
        parameters and 20 scored trials.

        Args:
            log: Whether the variance is of logarithms, so that one very poor trial does not decide.
        """
        scored = [
            trial
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if trial.value is not None
            and math.isfinite(trial.value)
            and (trial.value > 0 or not log)
        ]
        if len(self._distributions) < 2 or len(scored) < FEWEST_FOR_IMPORTANCE:
            return {}
        fixed = optuna.create_study()
        fixed.add_trials(scored)
        return optuna.importance.get_param_importances(
            fixed,
            evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0),
            params=list(self._distributions),
            target=lambda trial: math.log(trial.values[0]) if log else trial.values[0],
        )

    def _enqueue(self, point: Mapping[str, Any] | None, attrs: Mapping[str, Any]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.enqueue_trial(dict(point or {}), user_attrs=dict(attrs))

    def _is_duplicate(self, number: int, key: str) -> bool:
        """Return whether an earlier trial holds this cell, as after two simultaneous `prepare`s."""
        return any(
            trial.number < number and trial.user_attrs.get("key") == key and _standing(trial) > 1
            for trial in self._study.get_trials(deepcopy=False)
        )

    def _take_over_expired(self) -> None:
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if "key" in trial.user_attrs and is_abandoned(trial):
                self.give_back(trial)

    def give_back(self, trial: FrozenTrial | optuna.Trial) -> None:
        """End a trial as interrupted and enqueue its continuation: same point, same runs."""
        try:
            self._study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
            return  # somebody else was quicker
        attrs = {key: value for key, value in trial.user_attrs.items() if key != "lease"}
        self._enqueue(trial.params, attrs)


class Claim:
    """A cell that this process works on; its lease is renewed by a thread until it is settled."""

    def __init__(self, queue: Queue, trial: optuna.Trial) -> None:
        self._queue = queue
        self._trial = trial
        self.cell = _cell(trial.user_attrs, trial.params)
        # Only a take-over ends a trial early.
        self._lease = Lease(
            lambda lease: trial.set_user_attr("lease", lease),
            optuna.exceptions.UpdateFinishedTrialError,
        )

    def recall(self, key: str) -> Any:
        """Return what `remember` stored under this cell, by this holder or one before; or None."""
        return self._trial.user_attrs.get(key)

    def remember(self, key: str, value: Any) -> None:
        """Store a JSON value with the cell."""
        with self._lease.held():
            self._trial.set_user_attr(key, value)

    def check(self) -> None:
        """Raise Stop if the cell has been taken over by somebody else."""
        self._lease.check()

    def report(self, step: int, value: float) -> bool:
        """Tell Optuna an intermediate value and return whether the pruner would stop here."""
        with self._lease.held(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a step reported twice, after a continuation
            self._trial.report(value, step)
            return self._trial.should_prune()

    def complete(self, outcome: Outcome, value: float, scores: Mapping[str, float]) -> None:
        """Settle with a score."""
        self._remember_result(outcome, None, scores)
        self._settle(TrialState.COMPLETE, value)

    def prune(self, outcome: Outcome, reason: str | None) -> None:
        """Settle without a score: pruned or diverged. The sampler learns from it."""
        self._remember_result(outcome, reason, {})
        self._settle(TrialState.PRUNED)

    def fail(self, reason: str) -> None:
        """Settle as failed with an error."""
        self._remember_result("failed", reason, {})
        self._settle(TrialState.FAIL)

    def release(self) -> None:
        """Hand the cell back unfinished, to be continued by whoever asks next."""
        self._lease.end()
        self._queue.give_back(self._trial)

    def _remember_result(
        self, outcome: Outcome, reason: str | None, scores: Mapping[str, float]
    ) -> None:
        result = {"outcome": outcome, "reason": reason, "scores": dict(scores)}
        self.remember("result", result)

    def _settle(self, state: TrialState, value: float | None = None) -> None:
        self._lease.end()
        with self._lease.held():
            self._queue._study.tell(self._trial, value, state=state)


def _distribution(parameter: Any) -> BaseDistribution:
    if isinstance(parameter, Choice):
        return CategoricalDistribution(list(parameter.values))
    if parameter.integer:
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def _attributes(cell: Cell) -> dict[str, Any]:
    return {"key": cell.key, "point": cell.point, "seeds": cell.seeds, "trial": cell.trial}


def _cell(attrs: Mapping[str, Any], params: Mapping[str, Any]) -> Cell:
    point = dict(params) or attrs["point"]
    return Cell(key=attrs["key"], point=point, seeds=attrs["seeds"], trial=attrs["trial"])


def _standing(trial: FrozenTrial) -> int:
    """Rank a cell's trials: a result, work under way, waiting, an error, nothing."""
    match trial.state:
        case TrialState.COMPLETE | TrialState.PRUNED:
            return 4
        case TrialState.RUNNING:
            return 3
        case TrialState.WAITING:
            return 2
        case TrialState.FAIL if "result" in trial.user_attrs:
            return 1
        case _:
            return 0


def _record(trial: FrozenTrial) -> CellRecord:
    states: dict[int, CellState] = {4: "complete", 3: "running", 2: "waiting", 1: "failed"}
    state = states[_standing(trial)]
    result = trial.user_attrs.get("result", {}) if state in ("complete", "failed") else {}
    value = trial.value if trial.state == TrialState.COMPLETE else None
    ended = trial.datetime_complete if state in ("complete", "failed") else None
    return CellRecord(
        cell=_cell(trial.user_attrs, trial.params),
        state=state,
        outcome=result.get("outcome"),
        reason=result.get("reason"),
        value=value if value is not None and math.isfinite(value) else None,
        scores=result.get("scores", {}),
        run_ids={int(seed): run for seed, run in trial.user_attrs.get("runs", {}).items()},
        seconds=trial.duration.total_seconds() if trial.duration else None,
        ended=ended.timestamp() if ended else None,
    )


def is_abandoned(trial: FrozenTrial) -> bool:
    """Return whether a running trial's holder is dead (same host) or silent for too long."""
    lease = trial.user_attrs.get("lease")
    if lease is None:  # claimed a moment ago, or its holder died in that moment
        started = trial.datetime_start
        return started is not None and time.time() - started.timestamp() > LEASE_SECONDS
    return has_ended(lease)

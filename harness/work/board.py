"""A study's cells, their order, and what has become of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeAlias

from harness.errors import HarnessError, unknown_name
from harness.evaluate.metric import Figure, figure_of, objective_figure
from harness.records.workspace import Workspace
from harness.study.arm import Arm
from harness.study.definition import Definition
from harness.study.space import Point
from harness.study.study import StudyConfig
from harness.work.cell import Cell, CellRecord, Phase, settings_hash
from harness.work.decisions import seeds_needed
from harness.work.queue import Claim, Direction, Queue, Storage

Look: TypeAlias = Callable[[Queue, Sequence[Cell]], Mapping[str, CellRecord]]
"""Returns what is known of a queue's cells, by key; those that are expected are named."""


@dataclass(frozen=True, kw_only=True)
class ArmState:
    """Where one arm stands.

    Attributes:
        arm: The arm.
        search: Its search trials in order; empty where nothing is tuned.
        best: The settings chosen on validation; None while the search runs or if none survived.
        search_done: Whether the search has nothing left to do.
        confirm: Its confirm runs in order of seeds; cells not yet enqueued count as waiting.
    """

    arm: Arm
    search: tuple[CellRecord, ...]
    best: Point | None
    search_done: bool
    confirm: tuple[CellRecord, ...]

    @property
    def is_done(self) -> bool:
        """Whether the arm is searched and confirmed."""
        return self.search_done and all(record.is_done for record in self.confirm)


@dataclass(frozen=True, kw_only=True)
class OpenStudy:
    """A study that was started before.

    Attributes:
        name: Its name.
        definition: What was stored of it.
        board: Its cells.
        storage: Where these are kept.
    """

    name: str
    definition: Definition
    board: Board
    storage: Storage

    @classmethod
    def of(cls, name: str, definition: Definition, storage: Storage) -> Self:
        """Return a study from what is stored of it."""
        board = Board(storage, name, definition.study, definition.metric)
        return cls(name=name, definition=definition, board=board, storage=storage)

    @property
    def study(self) -> StudyConfig:
        """Its file."""
        return self.definition.study


class Board:
    """The work of one study: each arm's search, then its confirm runs on the best settings found.

    Args:
        storage: Where cells are kept.
        name: The study's name.
        study: Its file.
        metric: Key of the figure that arms are compared by: where the plan has looks, it decides
            which of them need further seeds.
    """

    def __init__(self, storage: Storage, name: str, study: StudyConfig, metric: str) -> None:
        self.study = study
        self._metric = metric
        self.arms = study.arms()
        self._figure = objective_figure(study.evaluate.objective)
        direction: Direction = "maximize" if self._figure.best == "higher" else "minimize"
        objective = f"validation {self._figure.label}"
        self._search_cells = {arm.name: _search_cells(study, arm) for arm in self.arms}
        self._search: dict[str, Queue] = {}
        self._confirm: dict[str, Queue] = {}
        for arm in self.arms:
            self._search[arm.name] = storage.queue(
                name,
                arm.name,
                "search",
                space=arm.space,
                direction=direction,
                objective=objective,
                pruner=study.search.pruner,
                sampler_seed=study.seed,
            )
            self._confirm[arm.name] = storage.queue(
                name, arm.name, "confirm", direction=direction, objective=objective
            )

    def prepare(self, *, retry_failed: bool = False) -> list[ArmState]:
        """Enqueue what is missing of every search, and of confirm runs whose search is done.

        Returns:
            Where every arm stands.
        """

        def enqueue(queue: Queue, cells: Sequence[Cell]) -> Mapping[str, CellRecord]:
            return queue.prepare(cells, retry_failed=retry_failed)

        return self._states(enqueue)

    def states(self) -> list[ArmState]:
        """Return where every arm stands; writes nothing."""
        return self._states(lambda queue, cells: queue.records())

    def claim(self, states: Sequence[ArmState]) -> tuple[Claim, Arm, Phase] | None:
        """Take a cell: searches first, the arm with the least progress first.

        Args:
            states: What `prepare` returned a moment ago.
        """
        phases: list[tuple[Phase, Mapping[str, Queue]]] = [
            ("search", self._search),
            ("confirm", self._confirm),
        ]
        for phase, queues in phases:
            open_states = [state for state in states if _is_open(state, phase)]
            for state in sorted(open_states, key=lambda state: _num_started(state, phase)):
                if claim := queues[state.arm.name].claim():
                    return claim, state.arm, phase
        return None

    def confirmed(self) -> dict[str, list[CellRecord]]:
        """Return every confirm run of each arm that has ended, whatever its settings."""
        return {
            arm.name: [r for r in self._confirm[arm.name].records().values() if r.is_done]
            for arm in self.arms
        }

    def importances(self) -> dict[str, dict[str, float]]:
        """Return arm -> tuned parameter -> importance (see `Queue.importances`)."""
        log = self._figure.log
        return {arm.name: self._search[arm.name].importances(log=log) for arm in self.arms}

    def _states(self, look: Look) -> list[ArmState]:
        searched = [self._searched(arm, look) for arm in self.arms]
        needed = self._seeds_needed(searched)
        return [self._confirmed(state, needed[state.arm.name], look) for state in searched]

    def _searched(self, arm: Arm, look: Look) -> ArmState:
        """Return where an arm stands, without its confirm runs."""
        cells = self._search_cells[arm.name]
        known = look(self._search[arm.name], cells)
        search = tuple(known.get(cell.key, _waiting(cell)) for cell in cells)
        done = all(record.is_done for record in search)
        best = _best_point(search, self._figure) if arm.space else {}
        return ArmState(arm=arm, search=search, best=best, search_done=done, confirm=())

    def _seeds_needed(self, states: Sequence[ArmState]) -> dict[str, int]:
        """Return how many seeds every arm is confirmed on, as far as its runs have come."""
        sizes = self.study.confirm.sizes
        costs = {}
        for state in states if len(sizes) > 1 else ():
            if state.search_done and state.best is None:
                continue  # it has nothing to confirm
            known = self._confirm[state.arm.name].records()
            records = [known.get(cell.key) for cell in self._confirm_cells(state, sizes[-1])]
            ended = itertools.takewhile(lambda record: record and record.is_done, records)
            costs[state.arm.name] = costs_of(filter(None, ended), self._metric)
        names = [arm.name for arm in self.arms]
        return seeds_needed(names, self.study.pairs(self.arms), sizes, costs)

    def _confirmed(self, state: ArmState, num_seeds: int, look: Look) -> ArmState:
        """Return where an arm stands with so many confirm runs."""
        cells = self._confirm_cells(state, num_seeds)
        if not cells:
            return state
        known = look(self._confirm[state.arm.name], cells)
        confirm = tuple(known.get(cell.key, _waiting(cell)) for cell in cells)
        return replace(state, confirm=confirm)

    def _confirm_cells(self, state: ArmState, num_seeds: int) -> list[Cell]:
        """Return the first confirm runs of an arm; none before its search is done."""
        if not state.search_done or state.best is None:
            return []
        # The settings are part of the key: a search that is extended and finds better ones
        # confirms anew instead of mixing two settings under one arm.
        prefix = settings_hash(state.best)
        return [
            Cell(key=f"{prefix}/{seed}", point=state.best, seeds=[seed], trial=index)
            for index, seed in enumerate(self.study.confirm_seeds()[:num_seeds])
        ]


def costs_of(records: Iterable[CellRecord], metric: str) -> list[float]:
    """Return what ended runs have come to as costs: less is better, `inf` is without a score."""
    figure = figure_of(metric)
    return [figure.cost(record.scores.get(metric)) for record in records]


def list_studies(workspace: Workspace) -> list[str]:
    """Return the studies' names; none where there is no database yet."""
    return Storage(workspace, create=False).studies.names() if Storage.exists(workspace) else []


def open_study(name: str, workspace: Workspace) -> OpenStudy:
    """Return a study that was started before.

    Raises:
        HarnessError: There is no such study, or this version cannot read its record.
    """
    storage = Storage(workspace, create=False)
    definition = storage.studies.definition(name)
    if definition is None and name in storage.studies.names():
        raise HarnessError(
            f"study {name!r} was never wholly started: start it again with `harness run`, or "
            "remove it with `harness rm`"
        )
    if definition is None:
        raise unknown_name("study", name, storage.studies.names())
    return OpenStudy.of(name, definition, storage)


def count_cells(study: StudyConfig, states: Sequence[ArmState]) -> dict[str, tuple[int, int]]:
    """Return for each phase how many cells have ended, and how many there will have been."""
    search = [record for state in states for record in state.search]
    confirm = [record for state in states for record in state.confirm]
    # Which cells these will be is known once an arm's search is done, and how many at each look.
    expected = sum(not state.search_done for state in states) * study.confirm.sizes[0]
    return {
        "search": (sum(record.is_done for record in search), len(search)),
        "confirm": (sum(record.is_done for record in confirm), len(confirm) + expected),
    }


def is_complete(states: Sequence[ArmState]) -> bool:
    """Return whether nothing is left to do."""
    return all(state.is_done for state in states)


def _search_cells(study: StudyConfig, arm: Arm) -> list[Cell]:
    if not arm.space:
        return []
    return [
        Cell(key=str(trial), point=point, seeds=study.search_seeds(trial), trial=trial)
        for trial, point in enumerate(study.points(arm))
    ]


def _is_open(state: ArmState, phase: Phase) -> bool:
    records = state.search if phase == "search" else state.confirm
    return any(not record.is_done for record in records)


def _waiting(cell: Cell) -> CellRecord:
    return CellRecord(cell=cell, state="waiting")


def _num_started(state: ArmState, phase: Phase) -> int:
    records = state.search if phase == "search" else state.confirm
    return sum(record.state != "waiting" for record in records)


def _best_point(search: tuple[CellRecord, ...], figure: Figure) -> Point | None:
    """Return the settings with the best validation value; the earlier of two equal ones."""
    scored = [record for record in search if record.value is not None]
    if not scored:
        return None
    best = min(scored, key=lambda record: (figure.cost(record.value), record.cell.trial))
    return best.cell.point

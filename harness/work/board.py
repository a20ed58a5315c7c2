"""A study's cells, their order, and what has become of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.study.space import Point
from harness.study.study import Arm, StudyConfig
from harness.work.queue import Cell, CellRecord, Claim, Phase, Queue, Storage, settings_hash


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


class Board:
    """The work of one study: each arm's search, then its confirm runs on the best settings found.

    Args:
        storage: Where cells are kept.
        name: The study's name.
        study: Its file.
    """

    def __init__(self, storage: Storage, name: str, study: StudyConfig) -> None:
        self.study = study
        self.arms = study.arms()
        self._search: dict[str, Queue] = {}
        self._confirm: dict[str, Queue] = {}
        for arm in self.arms:
            self._search[arm.name] = storage.queue(
                name,
                arm.name,
                "search",
                space=arm.space,
                pruner=study.search.pruner,
                sampler_seed=study.seed,
            )
            self._confirm[arm.name] = storage.queue(name, arm.name, "confirm")

    def prepare(self, *, retry_failed: bool = False) -> None:
        """Enqueue what is missing of every search, and of confirm runs whose search is done."""
        for arm in self.arms:
            self._search[arm.name].prepare(self._search_cells(arm), retry_failed=retry_failed)
        for state in self.states():
            if state.search_done:
                cells = [record.cell for record in state.confirm]
                self._confirm[state.arm.name].prepare(cells, retry_failed=retry_failed)

    def claim(self) -> tuple[Claim, Arm, Phase] | None:
        """Take a cell: searches first, the arm with the least progress first."""
        states = {state.arm.name: state for state in self.states()}
        phases: list[tuple[Phase, Mapping[str, Queue]]] = [
            ("search", self._search),
            ("confirm", self._confirm),
        ]
        for phase, queues in phases:
            for arm in sorted(self.arms, key=lambda arm: _num_started(states[arm.name], phase)):
                if claim := queues[arm.name].claim():
                    return claim, arm, phase
        return None

    def states(self) -> list[ArmState]:
        """Return where every arm stands."""
        return [self._state(arm) for arm in self.arms]

    def importances(self) -> dict[str, dict[str, float]]:
        """Return arm -> tuned parameter -> importance (see `Queue.importances`)."""
        return {arm.name: self._search[arm.name].importances() for arm in self.arms}

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do."""
        return all(state.is_done for state in self.states())

    def _search_cells(self, arm: Arm) -> list[Cell]:
        if not arm.space:
            return []
        return [
            Cell(key=str(trial), point=point, seeds=self.study.search_seeds(trial), trial=trial)
            for trial, point in enumerate(self.study.points(arm))
        ]

    def _state(self, arm: Arm) -> ArmState:
        expected = self._search_cells(arm)
        known = self._search[arm.name].records()
        search = tuple(known.get(cell.key, _waiting(cell)) for cell in expected)
        done = all(record.is_done for record in search)
        best = _best_point(search) if arm.space else {}
        confirm: tuple[CellRecord, ...] = ()
        if done and best is not None:
            known = self._confirm[arm.name].records()
            cells = self._confirm_cells(best)
            confirm = tuple(known.get(cell.key, _waiting(cell)) for cell in cells)
        return ArmState(arm=arm, search=search, best=best, search_done=done, confirm=confirm)

    def _confirm_cells(self, point: Point) -> list[Cell]:
        # The settings are part of the key: a search that is extended and finds better ones
        # confirms anew instead of mixing two settings under one arm.
        prefix = settings_hash(point)
        return [
            Cell(key=f"{prefix}/{seed}", point=point, seeds=[seed], trial=index)
            for index, seed in enumerate(self.study.confirm_seeds())
        ]


def _waiting(cell: Cell) -> CellRecord:
    return CellRecord(cell=cell, state="waiting")


def _num_started(state: ArmState, phase: Phase) -> int:
    records = state.search if phase == "search" else state.confirm
    return sum(record.state != "waiting" for record in records)


def _best_point(search: tuple[CellRecord, ...]) -> Point | None:
    """Return the settings with the lowest validation value; the earlier of two equal ones."""
    scored = [record for record in search if record.value is not None]
    if not scored:
        return None
    best = min(scored, key=lambda record: (record.value or 0.0, record.cell.trial))
    return best.cell.point

"""The training loop: it yields measurements and milestones; whoever iterates decides what to do.

Nothing here writes, evaluates or prints. To prune or to interrupt a run is to close the iterator.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from harness.data import Batches, Part
from harness.randomness import Streams
from harness.systems import Budget, System

MEASUREMENTS_PER_RUN = 100
SECONDS_BETWEEN_MEASUREMENTS = (
    1.0  # for budgets in seconds, whose iterations cannot be counted ahead
)
FIRST_SHARE = 0.02  # of the budget: no milestone lies earlier
FEWEST_GAPS = 7  # between milestones from there to the end; with fewer the first ones are left out


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        iterations: Calls of `System.step`.
        images_seen: Real images that the system took; every curve's x axis.
        train_seconds: Seconds of training, evaluation excluded.
        counts: The system's own updates, by unit of budget.
    """

    iterations: int = 0
    images_seen: int = 0
    train_seconds: float = 0.0
    counts: Mapping[str, int] = field(default_factory=dict)

    def spent(self, unit: str) -> float:
        """Return what has been spent of a budget in this unit."""
        return {"images": self.images_seen, "seconds": self.train_seconds, **self.counts}[unit]

    def share(self, budget: Budget) -> float:
        """Return the spent share of the budget, in [0, 1]."""
        return min(1.0, self.spent(budget.unit) / budget.amount)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Means since the last measurement.

    Attributes:
        progress: Where the run stands.
        values: As returned by `System.step`, plus `images_per_second`.
        snapshot: Returns all that `resume` needs to continue from here.
    """

    progress: Progress
    values: dict[str, float]
    snapshot: Callable[[], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Milestone:
    """A point at which the run is to be evaluated.

    Attributes:
        progress: Where the run stands.
        index: 0 before training, then 1 … `milestones`; where several share an iteration, the last.
        is_last: Whether the budget is spent.
        snapshot: Returns all that `resume` needs to continue from here.
    """

    progress: Progress
    index: int
    is_last: bool
    snapshot: Callable[[], dict[str, Any]]


def train(
    system: System[Any],
    part: Part,
    *,
    milestones: int,
    evenly: bool = False,
    resume: dict[str, Any] | None = None,
) -> Generator[Measured | Milestone, None, None]:
    """Train to the end of the config's budget.

    Args:
        system: What to train, freshly made; it carries the config.
        part: The training part, on the system's device.
        milestones: Number of milestones, at the shares of the budget that `milestone_share` says.
            A further one, with index 0, comes before the first step. Those that fall on the same
            iteration are one, under the last of their indices.
        evenly: Whether milestones are evenly spaced instead, as those of early records were.
        resume: An earlier `snapshot()` of the same config; continues bit for bit.

    Yields:
        A `Measured` about every hundredth of the budget and before each milestone, and the
        `Milestone`s. Consuming them more or less often changes nothing in training.
    """
    config = system.config
    order = Streams(config.seed, ["order"], system.device)
    batches = Batches(part, config.batch_size, order["order"])
    progress = Progress(counts=dict(system.counts))
    reached = 0

    def snapshot() -> dict[str, Any]:
        return {
            "system": copy.deepcopy(system.state_dict()),
            "order": order.state_dict(),
            "batches": batches.state_dict(),
            "progress": asdict(progress),
            "milestones_reached": reached,
        }

    # Begin, or continue where a snapshot was taken.
    if resume is None:
        yield Milestone(progress=progress, index=0, is_last=False, snapshot=snapshot)
    else:
        system.load_state_dict(resume["system"])
        order.load_state_dict(resume["order"])
        batches.load_state_dict(resume["batches"])
        progress = Progress(**resume["progress"])
        reached = resume["milestones_reached"]

    schedule = _Schedule(config.budget, milestones, evenly)
    sums = _Sums(progress)
    clock = _Clock(progress.train_seconds)
    while reached < milestones:
        # First, so that a run resumed between a measurement and its milestone still has both.
        if schedule.milestone_due(progress, reached):
            reached = schedule.last_due(progress, reached)
            is_last = reached == milestones
            yield Milestone(progress=progress, index=reached, is_last=is_last, snapshot=snapshot)
            clock.start()
            continue

        # One iteration.
        sums.add(system.step(batches.take, progress.share(config.budget)))
        progress = Progress(
            iterations=progress.iterations + 1,
            images_seen=batches.images_seen,
            train_seconds=clock.look(),
            counts=dict(system.counts),
        )
        if not schedule.measurement_due(progress, reached):
            continue

        # A measurement: reading the sums waits for the device, so the clock has seen all the work.
        means = sums.read()
        progress = replace(progress, train_seconds=clock.look())
        values = means | {"images_per_second": sums.images_per_second(progress)}
        sums.restart(progress)
        yield Measured(progress=progress, values=values, snapshot=snapshot)
        clock.start()


class _Clock:
    """Seconds of training: paused while whoever iterates evaluates or writes."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.start()

    def start(self) -> None:
        self._started = time.perf_counter()

    def look(self) -> float:
        now = time.perf_counter()
        self.seconds += now - self._started
        self._started = now
        return self.seconds


class _Sums:
    """Running sums of the step's scalars on the device, read back once per measurement."""

    def __init__(self, progress: Progress) -> None:
        self.restart(progress)

    def restart(self, progress: Progress) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._since = progress

    def add(self, values: dict[str, Tensor]) -> None:
        if not self._sums:
            self._sums = {key: value.clone() for key, value in values.items()}
        else:
            torch._foreach_add_(list(self._sums.values()), list(values.values()))
        self._count += 1

    def read(self) -> dict[str, float]:
        means = (torch.stack(list(self._sums.values())) / self._count).tolist()
        return dict(zip(self._sums, means, strict=True))

    def images_per_second(self, progress: Progress) -> float:
        seconds = progress.train_seconds - self._since.train_seconds
        return (progress.images_seen - self._since.images_seen) / max(seconds, 1e-9)


class _Schedule:
    """When to measure and when a milestone is due."""

    def __init__(self, budget: Budget, milestones: int, evenly: bool) -> None:
        self._budget = budget
        self._share = _even_share if evenly else milestone_share
        self._milestones = milestones
        self._last_measured = 0.0

    def milestone_due(self, progress: Progress, reached: int) -> bool:
        """Return whether milestone `reached` + 1 lies at or before this point."""
        share = self._share(reached + 1, self._milestones)
        if self._budget.seconds is not None:
            return progress.train_seconds >= share * self._budget.seconds
        iterations = num_iterations(progress, self._budget)
        return progress.iterations >= math.ceil(share * iterations - 1e-9)

    def last_due(self, progress: Progress, reached: int) -> int:
        """Return the index of the last milestone that lies at or before this point."""
        while reached < self._milestones and self.milestone_due(progress, reached):
            reached += 1
        return reached

    def measurement_due(self, progress: Progress, reached: int) -> bool:
        """Return whether to read the sums back now: regularly, and before every milestone."""
        if self.milestone_due(progress, reached):
            return True
        if self._budget.seconds is None:
            iterations = num_iterations(progress, self._budget)
            return progress.iterations % max(1, iterations // MEASUREMENTS_PER_RUN) == 0
        if progress.train_seconds - self._last_measured < SECONDS_BETWEEN_MEASUREMENTS:
            return False
        self._last_measured = progress.train_seconds
        return True


def milestone_share(index: int, milestones: int) -> float:
    """Return the share of the budget, in (0, 1], at which milestone `index` of 1 … lies.

    Shares grow by one factor up to 1 at the last: by 1.75 for up to eight milestones, of which the
    first of eight lies at 0.02; by a smaller one, from 0.02 on, for more.
    """
    return math.pow(FIRST_SHARE, (milestones - index) / max(milestones - 1, FEWEST_GAPS))


def _even_share(index: int, milestones: int) -> float:
    return index / milestones


def num_iterations(progress: Progress, budget: Budget) -> int:
    """Return how many iterations a budget pays for, rounded up, by what they have cost so far.

    Every iteration of a system costs the same, so the first one tells; before it, 1 is returned.
    """
    if progress.iterations == 0:
        return 1
    return math.ceil(budget.amount / (progress.spent(budget.unit) / progress.iterations))

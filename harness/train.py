"""The training loop: it yields measurements and milestones; whoever iterates decides what to do.

Nothing here writes, evaluates or prints. To prune or to interrupt a run is to close the iterator.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from harness.config import Budget, TrainConfig
from harness.data import Batches
from harness.randomness import Streams
from harness.systems import GAN, GANState

MEASUREMENTS_PER_RUN = 100
SECONDS_BETWEEN_MEASUREMENTS = (
    1.0  # for budgets in seconds, whose iterations cannot be counted ahead
)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is. `images_seen` counts real images shown to D; it is every curve's x axis."""

    iterations: int = 0
    d_steps_total: int = 0
    g_steps_total: int = 0
    images_seen: int = 0
    train_seconds: float = 0.0

    def share(self, budget: Budget) -> float:
        """Return the spent share of the budget, in [0, 1]."""
        spent = float(getattr(self, _COUNTER[budget.unit]))
        return min(1.0, spent / budget.amount)


_COUNTER = {
    "images": "images_seen",
    "g_steps": "g_steps_total",
    "d_steps": "d_steps_total",
    "seconds": "train_seconds",
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Means since the last measurement.

    Attributes:
        progress: Where the run stands.
        values: As returned by `GAN.step`, plus `images_per_second`.
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
        index: 0 before training, then 1 … `milestones`.
        is_last: Whether the budget is spent.
        state: The system's state: look, do not touch.
        snapshot: Returns all that `resume` needs to continue from here.
    """

    progress: Progress
    index: int
    is_last: bool
    state: GANState
    snapshot: Callable[[], dict[str, Any]]


def train(
    system: GAN,
    images: Tensor,
    *,
    milestones: int,
    resume: dict[str, Any] | None = None,
) -> Generator[Measured | Milestone, None, None]:
    """Train to the end of the config's budget.

    Args:
        system: What to train; it carries the config.
        images: The training part, (N, C, H, W) uint8, on the system's device.
        milestones: Number of evenly spaced milestones, the last at the full budget. A further one,
            with index 0, comes before the first step.
        resume: An earlier `snapshot()` of the same config; continues bit for bit.

    Yields:
        A `Measured` about every hundredth of the budget and before each milestone, and the
        `Milestone`s. Consuming them more or less often changes nothing in training.
    """
    config = system.config
    state = system.init()
    order = Streams(config.seed, ["order"], system.device)
    batches = Batches(images, config.batch_size, order["order"])
    progress = Progress()
    reached = 0

    def snapshot() -> dict[str, Any]:
        return {
            "system": copy.deepcopy(system.state_dict(state)),
            "order": order.state_dict(),
            "batches": batches.state_dict(),
            "progress": asdict(progress),
            "milestones_reached": reached,
        }

    if resume is None:
        yield Milestone(progress=progress, index=0, is_last=False, state=state, snapshot=snapshot)
    else:
        system.load_state_dict(state, resume["system"])
        order.load_state_dict(resume["order"])
        batches.load_state_dict(resume["batches"])
        progress = Progress(**resume["progress"])
        reached = resume["milestones_reached"]

    schedule = _Schedule(config, milestones)
    sums = _Sums(progress)
    clock = _Clock(progress.train_seconds)
    while reached < milestones:
        # First, so that a run resumed between a measurement and its milestone still has both.
        if schedule.milestone_due(progress, clock, reached):
            reached += 1
            yield Milestone(
                progress=progress,
                index=reached,
                is_last=reached == milestones,
                state=state,
                snapshot=snapshot,
            )
            clock.start()
            continue
        sums.add(system.step(state, batches.take(config.d_steps)))
        clock.look()
        progress = replace(
            progress,
            iterations=progress.iterations + 1,
            d_steps_total=state.d_steps_total,
            g_steps_total=state.g_steps_total,
            images_seen=progress.images_seen + config.d_steps * config.batch_size,
        )
        if not schedule.measurement_due(progress, clock, reached):
            continue
        means = sums.read()  # waits for the device, so the clock has seen all the work
        seconds = clock.look()
        rate = (progress.images_seen - sums.images_at_start) / max(
            seconds - sums.seconds_at_start, 1e-9
        )
        progress = replace(progress, train_seconds=seconds)
        sums.restart(progress)
        yield Measured(
            progress=progress, values=means | {"images_per_second": rate}, snapshot=snapshot
        )
        clock.start()


class _Clock:
    """Seconds of training: paused while whoever iterates evaluates or writes.

    `seconds` changes only when the clock is told to look, so all decisions about one step agree.
    """

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
        self.images_at_start = progress.images_seen
        self.seconds_at_start = progress.train_seconds

    def add(self, values: dict[str, Tensor]) -> None:
        if not self._sums:
            self._sums = {key: value.clone() for key, value in values.items()}
        else:
            torch._foreach_add_(list(self._sums.values()), list(values.values()))
        self._count += 1

    def read(self) -> dict[str, float]:
        means = (torch.stack(list(self._sums.values())) / self._count).tolist()
        return dict(zip(self._sums, means, strict=True))


class _Schedule:
    """When to measure and when a milestone is due."""

    def __init__(self, config: TrainConfig, milestones: int) -> None:
        self._milestones = milestones
        self._seconds = config.budget.seconds
        self._last_measured = 0.0
        self.iterations = num_iterations(config)
        self._interval = max(1, (self.iterations or 0) // MEASUREMENTS_PER_RUN)

    def milestone_due(self, progress: Progress, clock: _Clock, reached: int) -> bool:
        """Return whether milestone `reached` + 1 lies at or before this point."""
        share = (reached + 1) / self._milestones
        if self._seconds is not None:
            return clock.seconds >= share * self._seconds
        assert self.iterations is not None
        return progress.iterations >= math.ceil(share * self.iterations - 1e-9)

    def measurement_due(self, progress: Progress, clock: _Clock, reached: int) -> bool:
        """Return whether to read the sums back now: regularly, and before every milestone."""
        if self.milestone_due(progress, clock, reached):
            return True
        if self._seconds is None:
            return progress.iterations % self._interval == 0
        if clock.seconds - self._last_measured < SECONDS_BETWEEN_MEASUREMENTS:
            return False
        self._last_measured = clock.seconds
        return True


def num_iterations(config: TrainConfig) -> int | None:
    """Return how many iterations the budget pays for (rounded up), or None for one in seconds."""
    budget = config.budget
    per_iteration = {
        "images": config.d_steps * config.batch_size,
        "d_steps": config.d_steps,
        "g_steps": 1,
    }
    if budget.unit == "seconds":
        return None
    return math.ceil(budget.amount / per_iteration[budget.unit])

"""The training loop: counts, milestones, measurements and time."""

from __future__ import annotations

import copy
import itertools
import math
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import harness.run.loop
from harness.data import Batch, Part, to_uint8
from harness.run.loop import Measured, Milestone, Progress, milestone_share, num_iterations, train
from harness.systems import Budget
from harness.systems.gan import GAN

Make = Callable[..., GAN]

SHAPE = (1, 8, 8)
BATCH = 4


def milestones_of(gan: GAN, part: Part, milestones: int) -> list[Milestone]:
    events = train(gan, part, milestones=milestones)
    return [event for event in events if isinstance(event, Milestone)]


# --- counts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "d_steps", "iterations"),
    [
        ({"g_steps": 7}, 2, 7),
        ({"d_steps": 8}, 2, 4),
        ({"d_steps": 7}, 2, 4),  # 3.5 iterations
        ({"images": 56}, 2, 7),  # 8 images per iteration
        ({"images": 57}, 2, 8),
        ({"images": 1}, 5, 1),  # less than one iteration
        ({"d_steps": 1}, 5, 1),
        ({"g_steps": 1}, 1, 1),
    ],
)
def test_budgets_buy_whole_iterations(
    make: Make, part: Part, budget: dict[str, int], d_steps: int, iterations: int
) -> None:
    gan = make(budget=budget, d_steps=d_steps)
    first, last = milestones_of(gan, part, 1)
    assert first.progress == Progress(counts={"g_steps": 0, "d_steps": 0})
    assert num_iterations(first.progress, gan.config.budget) == 1
    assert num_iterations(last.progress, gan.config.budget) == iterations
    assert (first.index, first.is_last) == (0, False)
    assert (last.index, last.is_last) == (1, True)
    assert last.progress.iterations == last.progress.counts["g_steps"] == iterations
    assert last.progress.counts["d_steps"] == iterations * d_steps
    assert last.progress.images_seen == iterations * d_steps * BATCH
    assert last.progress.share(gan.config.budget) == 1
    assert first.progress.share(gan.config.budget) == 0


@pytest.mark.parametrize("iterations", [1, 2, 3, 7, 100, 1001])
@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ({"images": 600_000}, 3125),  # 192 images per iteration
        ({"images": 600_001}, 3126),
        ({"images": 1}, 1),
        ({"d_steps": 300}, 100),
        ({"d_steps": 301}, 101),
        ({"g_steps": 1_000_003}, 1_000_003),
    ],
)
def test_the_number_of_iterations_is_the_same_wherever_it_is_asked(
    budget: dict[str, int], expected: int, iterations: int
) -> None:
    progress = Progress(
        iterations=iterations,
        images_seen=192 * iterations,
        counts={"g_steps": iterations, "d_steps": 3 * iterations},
    )
    assert num_iterations(progress, Budget(**budget)) == expected


def test_share_of_the_budget() -> None:
    progress = Progress(
        iterations=5,
        images_seen=40,
        train_seconds=2.0,
        counts={"d_steps": 10, "g_steps": 5, "steps": 3},
    )
    assert progress.share(Budget(images=160)) == 0.25
    assert progress.share(Budget(g_steps=50)) == 0.1
    assert progress.share(Budget(d_steps=20)) == 0.5
    assert progress.share(Budget(steps=4)) == 0.75
    assert progress.share(Budget(seconds=2.5)) == 0.8
    assert progress.share(Budget(seconds=1.0)) == 1.0


# Shares of four: 0.1869, 0.3269, 0.5718, 1; of eight first 0.02, 0.0350, 0.0612, 0.1069.
@pytest.mark.parametrize(
    ("budget", "d_steps", "milestones", "expected"),
    [
        ({"g_steps": 100}, 1, 8, {1: 2, 2: 4, 3: 7, 4: 11, 5: 19, 6: 33, 7: 58, 8: 100}),
        ({"g_steps": 100}, 1, 3, {1: 33, 2: 58, 3: 100}),
        ({"d_steps": 24}, 2, 4, {1: 3, 2: 4, 3: 7, 4: 12}),
        ({"images": 96}, 2, 4, {1: 3, 2: 4, 3: 7, 4: 12}),
        ({"images": 97}, 2, 2, {1: 8, 2: 13}),
        # Several at one iteration are one, the last of them.
        ({"g_steps": 10}, 1, 8, {3: 1, 5: 2, 6: 4, 7: 6, 8: 10}),
        ({"g_steps": 2}, 1, 5, {3: 1, 5: 2}),
        ({"images": 1}, 1, 3, {3: 1}),
        ({"g_steps": 1}, 1, 1, {1: 1}),
    ],
)
def test_milestones_grow_by_one_factor(
    make: Make,
    part: Part,
    budget: dict[str, int],
    d_steps: int,
    milestones: int,
    expected: dict[int, int],
) -> None:
    got = milestones_of(make(budget=budget, d_steps=d_steps), part, milestones)
    assert {each.index: each.progress.iterations for each in got} == {0: 0} | expected
    assert [each.is_last for each in got] == [False] * len(expected) + [True]


def test_early_records_milestones_are_evenly_spaced(make: Make, part: Part) -> None:
    events = train(make(budget={"g_steps": 10}), part, milestones=4, evenly=True)
    got = {each.index: each.progress.iterations for each in events if isinstance(each, Milestone)}
    assert got == {0: 0, 1: 3, 2: 5, 3: 8, 4: 10}  # 2.5, 5, 7.5, 10, rounded up


@pytest.mark.parametrize("milestones", [1, 2, 5, 8, 9, 20, 1000])
def test_shares_start_early_and_end_at_the_budget(milestones: int) -> None:
    shares = [milestone_share(index, milestones) for index in range(1, milestones + 1)]
    assert shares[-1] == 1
    assert shares[0] >= 0.02 * (1 - 1e-12)
    assert (shares[0] == pytest.approx(0.02)) is (milestones >= 8)
    factors = [late / early for early, late in itertools.pairwise(shares)]
    assert factors == pytest.approx([factors[0]] * len(factors) if factors else [])
    if milestones == 8:
        expected = [0.02, 0.03497, 0.06116, 0.10695, 0.18701, 0.32702, 0.57186, 1]
        assert shares == pytest.approx(expected, rel=1e-3)


def test_every_milestone_follows_a_measurement_of_the_same_point(make: Make, part: Part) -> None:
    events = list(train(make(budget={"g_steps": 10}), part, milestones=3))
    assert isinstance(events[0], Milestone)
    for before, event in itertools.pairwise(events):
        if isinstance(event, Milestone):
            assert before.progress == event.progress
    measured = [e.progress.iterations for e in events if isinstance(e, Measured)]
    assert measured == list(range(1, 11))


def test_about_a_hundred_measurements_whatever_the_budget(make: Make, part: Part) -> None:
    gan = make(budget={"g_steps": 450})
    measured = [e for e in train(gan, part, milestones=1) if isinstance(e, Measured)]
    assert [e.progress.iterations for e in measured] == [*range(4, 450, 4), 450]


def test_measurements_are_means_since_the_last(
    make: Make, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine = list(train(make(), part, milestones=1))
    monkeypatch.setattr(harness.run.loop, "MEASUREMENTS_PER_RUN", 3)
    coarse = [e for e in train(make(), part, milestones=1) if isinstance(e, Measured)]
    assert [e.progress.iterations for e in coarse] == [4, 8, 12]
    for key in ("d_loss", "g_loss", "d_real", "g_grad_norm"):
        single = [e.values[key] for e in fine if isinstance(e, Measured)]
        means = [sum(single[start : start + 4]) / 4 for start in (0, 4, 8)]
        assert [e.values[key] for e in coarse] == pytest.approx(means, rel=1e-5)


class Recording(GAN):
    """Remembers the real batches of every iteration, and the share that was done before it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.batches: list[Tensor] = []
        self.done: list[float] = []

    def step(self, take: Callable[[], Batch], done: float) -> dict[str, Tensor]:
        taken: list[Tensor] = []

        def spy() -> Batch:
            batch = take()
            taken.append(batch.images.clone())
            return batch

        measures = super().step(spy, done)
        self.batches.append(torch.stack(taken))
        self.done.append(done)
        return measures


@pytest.mark.parametrize("d_steps", [1, 2, 5])
def test_real_batches_are_fresh_for_every_discriminator_step(make: Make, d_steps: int) -> None:
    images = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1).expand(40, *SHAPE).clone()
    gan = make(Recording, d_steps=d_steps, budget={"d_steps": 20})
    last = list(train(gan, Part(images=images, labels=None), milestones=1))[-1]
    assert all(batch.shape == (d_steps, BATCH, *SHAPE) for batch in gan.batches)
    shown = to_uint8(torch.cat(gan.batches))[:, :, 0, 0, 0].flatten().tolist()
    assert len(shown) == last.progress.images_seen == 80
    assert sorted(shown[:40]) == sorted(shown[40:]) == list(range(40))  # two epochs
    assert shown[:40] != shown[40:]


def test_data_order_depends_on_the_seed_but_not_on_d_steps(make: Make, part: Part) -> None:
    def shown(**changes: Any) -> Tensor:
        gan = make(Recording, **{"budget": {"d_steps": 6}} | changes)
        list(train(gan, part, milestones=1))
        return torch.cat(gan.batches)

    assert torch.equal(shown(), shown(d_steps=3))
    assert not torch.equal(shown(), shown(seed=1))


@pytest.mark.parametrize("budget", [{"g_steps": 8}, {"d_steps": 16}, {"images": 64}])
def test_a_step_is_told_the_share_that_is_done(
    make: Make, part: Part, budget: dict[str, int]
) -> None:
    gan = make(Recording, d_steps=2, budget=budget)
    list(train(gan, part, milestones=3))
    assert gan.done == [number / 8 for number in range(8)]


# --- time -----------------------------------------------------------------------------------------


class Clock:
    """A clock that moves only when told, and by `tick` whenever it is read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tick: float = 0.0) -> None:
        self.now = 500.0
        self.tick = tick
        fake = types.SimpleNamespace(perf_counter=self.read)
        monkeypatch.setattr(harness.run.loop, "time", fake)

    def read(self) -> float:
        self.now += self.tick
        return self.now


class Timed(GAN):
    """Takes one second of a fake clock per step."""

    clock: Clock

    def step(self, take: Callable[[], Batch], done: float) -> dict[str, Tensor]:
        self.clock.now += 1.0
        return super().step(take, done)


@pytest.fixture
def timed(make: Make, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Timed]:
    def build(tick: float = 0.0, **changes: Any) -> Timed:
        gan = make(Timed, **changes)
        gan.clock = Clock(monkeypatch, tick)
        return gan

    return build


@pytest.mark.parametrize("budget", [{"g_steps": 6}, {"seconds": 6}])
def test_train_seconds_exclude_the_consumers_time(
    part: Part, budget: dict[str, int], timed: Callable[..., Timed]
) -> None:
    gan = timed(budget=budget)
    seconds, rates = [], []
    for event in train(gan, part, milestones=3):
        gan.clock.now += 1000  # evaluate, write, draw
        seconds.append((type(event).__name__, event.progress.train_seconds))
        if isinstance(event, Measured):
            rates.append(event.values["images_per_second"])
    assert [s for kind, s in seconds if kind == "Milestone"] == [0, 2, 4, 6]
    assert [s for kind, s in seconds if kind == "Measured"] == [1, 2, 3, 4, 5, 6]
    assert rates == pytest.approx([BATCH] * 6)


def test_a_budget_in_seconds_ends_with_the_step_that_spends_it(
    part: Part, timed: Callable[..., Timed]
) -> None:
    gan = timed(budget={"seconds": 4.5})
    got = [e for e in train(gan, part, milestones=2) if isinstance(e, Milestone)]
    assert [e.progress.iterations for e in got] == [0, 3, 5]
    assert [e.progress.train_seconds for e in got] == [0, 3, 5]
    assert [e.is_last for e in got] == [False, False, True]


def test_milestones_of_a_budget_in_seconds_follow_a_measurement(
    part: Part, timed: Callable[..., Timed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness.run.loop, "SECONDS_BETWEEN_MEASUREMENTS", 100.0)
    # The clock moves while the loop looks at it, so that a milestone can fall due between looks.
    for tick in (0.05, 0.11, 0.23, 0.31, 0.47):
        gan = timed(tick=tick, budget={"seconds": 12.0})
        events = list(train(gan, part, milestones=4))
        for before, event in itertools.pairwise(events):
            if isinstance(event, Milestone):
                assert before.progress == event.progress, f"tick {tick}, {event.index}"
        assert events[-1].progress.train_seconds >= 12


def test_a_resumed_budget_in_seconds_keeps_what_was_spent(
    part: Part, timed: Callable[..., Timed]
) -> None:
    gan = timed(budget={"seconds": 6})
    snapshot = list(itertools.islice(train(gan, part, milestones=3), 5))[-1].snapshot()
    gan = timed(budget={"seconds": 6})
    rest = list(train(gan, part, milestones=3, resume=copy.deepcopy(snapshot)))
    assert [e.progress.train_seconds for e in rest if isinstance(e, Milestone)] == [4, 6]


# --- divergence -----------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["hinge", "wasserstein"])
def test_divergence_surfaces(make: Make, part: Part, loss: str) -> None:
    gan = make(loss=loss, optimizer="sgd", g_lr=1e6, d_lr=1e6, g_norm="none", d_depth=2)
    *_, measured, last = train(gan, part, milestones=1)
    assert isinstance(measured, Measured)
    assert isinstance(last, Milestone)
    assert not all(math.isfinite(value) for value in measured.values.values())
    assert not gan.is_finite()


def test_a_healthy_run_is_finite(make: Make, part: Part) -> None:
    gan = make()
    *_, measured, last = train(gan, part, milestones=1)
    assert isinstance(measured, Measured)
    assert isinstance(last, Milestone)
    assert all(math.isfinite(value) for value in measured.values.values())
    assert gan.is_finite()

"""The training loop: counts, milestones, sameness, and continuing bit for bit."""

from __future__ import annotations

import copy
import io
import itertools
import math
import random
import types
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import harness.run.loop
from harness.config import parse
from harness.data import load_dataset, to_uint8
from harness.run.loop import Measured, Milestone, Progress, num_iterations, train
from harness.systems import Budget, GANConfig, GANState
from harness.systems.gan import GAN

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)
BATCH = 4
SMALL: dict[str, Any] = {
    "dataset": "digits",
    "image_size": 8,
    "architecture": "mlp",
    "latent_dim": 3,
    "batch_size": BATCH,
    "g_width": 4,
    "d_width": 4,
    "g_depth": 1,
    "d_depth": 1,
    "budget": {"g_steps": 12},
}
# Whatever a resumed run could forget: moments, running statistics, masks, penalty points, counters.
EVERYTHING: dict[str, Any] = {
    "d_steps": 2,
    "g_norm": "batch",
    "g_dropout": 0.2,
    "d_dropout": 0.2,
    "penalty": "gradient",
    "penalty_interval": 3,
    "optimizer": "adam",
}


def make(**changes: Any) -> GAN:
    return GAN(parse(GANConfig, SMALL | changes, "test"), SHAPE, CPU)


def pictures(num: int = 10) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (num, *SHAPE), dtype=torch.uint8, generator=generator)


def flat(thing: Any, path: str = "") -> dict[str, Any]:
    """Return {path: value} of nested dicts and lists, tensors cloned."""
    if isinstance(thing, dict):
        pairs: Any = thing.items()
    elif isinstance(thing, list | tuple):
        pairs = enumerate(thing)
    else:
        return {path: thing.clone() if isinstance(thing, Tensor) else thing}
    return {k: v for key, each in pairs for k, v in flat(each, f"{path}.{key}").items()}


def timeless(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Return a flat copy of a snapshot without what the clock put into it."""
    return {key: value for key, value in flat(snapshot).items() if "seconds" not in key}


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Return whether two results of `flat` are equal bit for bit."""
    return first.keys() == second.keys() and all(
        torch.equal(value, second[key]) if isinstance(value, Tensor) else value == second[key]
        for key, value in first.items()
    )


def summary(event: Measured | Milestone) -> tuple[Any, ...]:
    """Return all of an event that must be reproducible."""
    progress = {key: v for key, v in asdict(event.progress).items() if key != "train_seconds"}
    if isinstance(event, Milestone):
        return ("milestone", progress, event.index, event.is_last)
    values = {key: v for key, v in event.values.items() if key != "images_per_second"}
    return ("measured", progress, values)


def milestones_of(gan: GAN, milestones: int) -> list[Milestone]:
    events = train(gan, pictures(), milestones=milestones)
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
    budget: dict[str, int], d_steps: int, iterations: int
) -> None:
    gan = make(budget=budget, d_steps=d_steps)
    assert num_iterations(gan.config) == iterations
    first, last = milestones_of(gan, 1)
    assert first.progress == Progress()
    assert (first.index, first.is_last) == (0, False)
    assert (last.index, last.is_last) == (1, True)
    assert last.progress.iterations == last.progress.g_steps_total == iterations
    assert last.progress.d_steps_total == iterations * d_steps
    assert last.progress.images_seen == iterations * d_steps * BATCH
    assert last.progress.share(gan.config.budget) == 1
    assert first.progress.share(gan.config.budget) == 0


def test_a_budget_in_seconds_has_no_number_of_iterations() -> None:
    assert num_iterations(make(budget={"seconds": 1.0}).config) is None


def test_share_of_the_budget() -> None:
    progress = Progress(
        iterations=5, d_steps_total=10, g_steps_total=5, images_seen=40, train_seconds=2.0
    )
    assert progress.share(Budget(images=160)) == 0.25
    assert progress.share(Budget(g_steps=50)) == 0.1
    assert progress.share(Budget(d_steps=20)) == 0.5
    assert progress.share(Budget(seconds=2.5)) == 0.8
    assert progress.share(Budget(seconds=1.0)) == 1.0


@pytest.mark.parametrize(
    ("budget", "d_steps", "milestones", "expected"),
    [
        ({"g_steps": 12}, 1, 3, [0, 4, 8, 12]),
        ({"g_steps": 10}, 1, 4, [0, 3, 5, 8, 10]),  # 2.5, 5, 7.5, 10, rounded up
        ({"d_steps": 24}, 2, 4, [0, 3, 6, 9, 12]),
        ({"images": 96}, 2, 4, [0, 3, 6, 9, 12]),
        ({"images": 97}, 2, 2, [0, 7, 13]),
        ({"g_steps": 2}, 1, 5, [0, 1, 1, 2, 2, 2]),  # 0.4, 0.8, 1.2, 1.6, 2
        ({"images": 1}, 1, 3, [0, 1, 1, 1]),
        ({"g_steps": 25}, 1, 25, list(range(26))),  # 7 / 25 * 25 > 7 in floats
    ],
)
def test_milestones_are_evenly_spaced(
    budget: dict[str, int], d_steps: int, milestones: int, expected: list[int]
) -> None:
    got = milestones_of(make(budget=budget, d_steps=d_steps), milestones)
    assert [each.progress.iterations for each in got] == expected
    assert [each.index for each in got] == list(range(milestones + 1))
    assert [each.is_last for each in got] == [False] * milestones + [True]


def test_every_milestone_follows_a_measurement_of_the_same_point() -> None:
    events = list(train(make(budget={"g_steps": 10}), pictures(), milestones=3))
    assert isinstance(events[0], Milestone)
    for before, event in itertools.pairwise(events):
        if isinstance(event, Milestone):
            assert before.progress == event.progress
    measured = [e.progress.iterations for e in events if isinstance(e, Measured)]
    assert measured == list(range(1, 11))


def test_about_a_hundred_measurements_whatever_the_budget() -> None:
    gan = make(budget={"g_steps": 450})
    measured = [e for e in train(gan, pictures(), milestones=1) if isinstance(e, Measured)]
    assert [e.progress.iterations for e in measured] == [*range(4, 450, 4), 450]


def test_measurements_are_means_since_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = list(train(make(), pictures(), milestones=1))
    monkeypatch.setattr(harness.train, "MEASUREMENTS_PER_RUN", 3)
    coarse = [e for e in train(make(), pictures(), milestones=1) if isinstance(e, Measured)]
    assert [e.progress.iterations for e in coarse] == [4, 8, 12]
    for key in ("d_loss", "g_loss", "d_real", "g_grad_norm"):
        single = [e.values[key] for e in fine if isinstance(e, Measured)]
        means = [sum(single[start : start + 4]) / 4 for start in (0, 4, 8)]
        assert [e.values[key] for e in coarse] == pytest.approx(means, rel=1e-5)


class Recording(GAN):
    """Remembers the real batches."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.batches: list[Tensor] = []

    def step(self, state: GANState, batch: Tensor) -> dict[str, Tensor]:
        self.batches.append(batch.clone())
        return super().step(state, batch)


@pytest.mark.parametrize("d_steps", [1, 2, 5])
def test_real_batches_are_fresh_for_every_discriminator_step(d_steps: int) -> None:
    images = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1).expand(40, *SHAPE).clone()
    config = parse(GANConfig, SMALL | {"d_steps": d_steps, "budget": {"d_steps": 20}}, "test")
    gan = Recording(config, SHAPE, CPU)
    last = list(train(gan, images, milestones=1))[-1]
    assert all(batch.shape == (d_steps, BATCH, *SHAPE) for batch in gan.batches)
    shown = to_uint8(torch.cat(gan.batches))[:, :, 0, 0, 0].flatten().tolist()
    assert len(shown) == last.progress.images_seen == 80
    assert sorted(shown[:40]) == sorted(shown[40:]) == list(range(40))  # two epochs
    assert shown[:40] != shown[40:]


def test_data_order_depends_on_the_seed_but_not_on_d_steps() -> None:
    def shown(**changes: Any) -> Tensor:
        config = parse(GANConfig, SMALL | {"budget": {"d_steps": 6}} | changes, "test")
        gan = Recording(config, SHAPE, CPU)
        list(train(gan, pictures(), milestones=1))
        return torch.cat(gan.batches)

    assert torch.equal(shown(), shown(d_steps=3))
    assert not torch.equal(shown(), shown(seed=1))


# --- sameness -------------------------------------------------------------------------------------


def final_state(
    gan: GAN, milestones: int, on_event: Callable[[Measured | Milestone], None] = lambda _: None
) -> dict[str, Any]:
    event: Measured | Milestone | None = None
    for event in train(gan, pictures(), milestones=milestones):
        on_event(event)
    assert isinstance(event, Milestone)
    state = timeless(event.snapshot())
    assert state.pop(".milestones_reached") == milestones
    return state


def disturb(_: object) -> None:
    disturb.calls += 1  # type: ignore[attr-defined]
    torch.manual_seed(disturb.calls)  # type: ignore[attr-defined]
    np.random.seed(disturb.calls)  # type: ignore[attr-defined]
    random.seed(disturb.calls)  # type: ignore[attr-defined]
    torch.rand(3)


disturb.calls = 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("architecture", ["mlp", "dc"])
def test_looking_more_often_changes_nothing(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gan = make(architecture=architecture, **EVERYTHING)

    def sample(event: Measured | Milestone) -> None:
        if isinstance(event, Milestone):
            gan.sample(event.state, torch.randn(3, 3))
            gan.is_finite(event.state)
            event.snapshot()

    quiet = final_state(gan, 1)
    assert any(isinstance(v, Tensor) and v.is_floating_point() for v in quiet.values())
    assert same(final_state(gan, 12), quiet)
    assert same(final_state(gan, 12, sample), quiet)
    assert same(final_state(gan, 5, disturb), quiet)
    monkeypatch.setattr(harness.train, "MEASUREMENTS_PER_RUN", 1)
    assert same(final_state(gan, 1), quiet)


def test_training_keeps_the_global_state() -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    list(train(make(**EVERYTHING), pictures(), milestones=2))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert random.getstate() == before[2]


def test_the_images_are_only_read() -> None:
    images = pictures()
    list(train(make(), images, milestones=1))
    assert torch.equal(images, pictures())


def test_seeds_give_different_runs() -> None:
    assert not same(final_state(make(), 1), final_state(make(seed=1), 1))


# --- continuing -----------------------------------------------------------------------------------


def through_a_file(snapshot: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(snapshot, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


@pytest.mark.parametrize("keep", [copy.deepcopy, through_a_file], ids=["memory", "file"])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_resuming_after_any_event_continues_bit_for_bit(
    optimizer: str, keep: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness.train, "MEASUREMENTS_PER_RUN", 4)  # one every three iterations
    gan = make(**EVERYTHING | {"optimizer": optimizer})
    events, snapshots = [], []
    for event in train(gan, pictures(), milestones=3):
        events.append(summary(event))
        snapshots.append(keep(event.snapshot()))
    kinds = [(kind, progress["iterations"]) for kind, progress, *_ in events]
    assert kinds == [
        ("milestone", 0),
        ("measured", 3),  # within an interval
        ("measured", 4),  # right before a milestone
        ("milestone", 4),
        ("measured", 6),
        ("measured", 8),
        ("milestone", 8),
        ("measured", 9),
        ("measured", 12),
        ("milestone", 12),
    ]
    final = timeless(snapshots[-1])
    for index in range(len(events) - 1):
        disturb(None)
        rest = []
        for event in train(gan, pictures(), milestones=3, resume=snapshots[index]):
            rest.append(summary(event))
        assert rest == events[index + 1 :], f"after event {index}"
        assert same(timeless(event.snapshot()), final), f"after event {index}"


def test_resuming_a_finished_run_yields_nothing_more() -> None:
    *_, last = train(make(), pictures(), milestones=2)
    resumed = train(make(), pictures(), milestones=2, resume=last.snapshot())
    assert [summary(event) for event in itertools.islice(resumed, 3)] == []


def test_a_snapshot_stays_as_it_was_while_training_goes_on() -> None:
    events = train(make(), pictures(), milestones=2)
    early = list(itertools.islice(events, 4))[-1].snapshot()
    before = timeless(early)
    next(events)
    assert same(timeless(early), before)


def test_two_runs_may_resume_from_one_snapshot() -> None:
    event = list(itertools.islice(train(make(), pictures(), milestones=2), 4))[-1]
    snapshot = copy.deepcopy(event.snapshot())
    runs = [
        [summary(e) for e in train(make(), pictures(), milestones=2, resume=snapshot)]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_training_time_adds_up_over_a_resume() -> None:
    event = list(itertools.islice(train(make(), pictures(), milestones=2), 4))[-1]
    snapshot = event.snapshot()
    snapshot["progress"]["train_seconds"] = 1000.0
    *_, last = train(make(), pictures(), milestones=2, resume=snapshot)
    assert 1000 < last.progress.train_seconds < 1060


def test_closing_the_iterator_stops_the_run() -> None:
    events = train(make(), pictures(), milestones=2)
    next(events)
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert list(events) == []


# --- time -----------------------------------------------------------------------------------------


class Clock:
    """A clock that moves only when told, and by `tick` whenever it is read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tick: float = 0.0) -> None:
        self.now = 500.0
        self.tick = tick
        fake = types.SimpleNamespace(perf_counter=self.read)
        monkeypatch.setattr(harness.train, "time", fake)

    def read(self) -> float:
        self.now += self.tick
        return self.now


class Timed(GAN):
    """Takes one second of a fake clock per step."""

    clock: Clock

    def step(self, state: GANState, batch: Tensor) -> dict[str, Tensor]:
        self.clock.now += 1.0
        return super().step(state, batch)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Timed]:
    def build(tick: float = 0.0, **changes: Any) -> Timed:
        gan = Timed(parse(GANConfig, SMALL | changes, "test"), SHAPE, CPU)
        gan.clock = Clock(monkeypatch, tick)
        return gan

    return build


@pytest.mark.parametrize("budget", [{"g_steps": 6}, {"seconds": 6}])
def test_train_seconds_exclude_the_consumers_time(
    budget: dict[str, int], timed: Callable[..., Timed]
) -> None:
    gan = timed(budget=budget)
    seconds, rates = [], []
    for event in train(gan, pictures(), milestones=3):
        gan.clock.now += 1000  # evaluate, write, draw
        seconds.append((type(event).__name__, event.progress.train_seconds))
        if isinstance(event, Measured):
            rates.append(event.values["images_per_second"])
    assert [s for kind, s in seconds if kind == "Milestone"] == [0, 2, 4, 6]
    assert [s for kind, s in seconds if kind == "Measured"] == [1, 2, 3, 4, 5, 6]
    assert rates == pytest.approx([BATCH] * 6)


def test_a_budget_in_seconds_ends_with_the_step_that_spends_it(
    timed: Callable[..., Timed],
) -> None:
    gan = timed(budget={"seconds": 4.5})
    got = [e for e in train(gan, pictures(), milestones=2) if isinstance(e, Milestone)]
    assert [e.progress.iterations for e in got] == [0, 3, 5]
    assert [e.progress.train_seconds for e in got] == [0, 3, 5]
    assert [e.is_last for e in got] == [False, False, True]


def test_milestones_of_a_budget_in_seconds_follow_a_measurement(
    timed: Callable[..., Timed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness.train, "SECONDS_BETWEEN_MEASUREMENTS", 100.0)
    # The clock moves while the loop looks at it, so that a milestone can fall due between looks.
    for tick in (0.05, 0.11, 0.23, 0.31, 0.47):
        gan = timed(tick=tick, budget={"seconds": 12.0})
        events = list(train(gan, pictures(), milestones=4))
        for before, event in itertools.pairwise(events):
            if isinstance(event, Milestone):
                assert before.progress == event.progress, f"tick {tick}, {event.index}"
        assert events[-1].progress.train_seconds >= 12


def test_a_resumed_budget_in_seconds_keeps_what_was_spent(timed: Callable[..., Timed]) -> None:
    gan = timed(budget={"seconds": 6})
    snapshot = list(itertools.islice(train(gan, pictures(), milestones=3), 5))[-1].snapshot()
    gan.clock.now += 5000
    rest = list(train(gan, pictures(), milestones=3, resume=copy.deepcopy(snapshot)))
    assert [e.progress.train_seconds for e in rest if isinstance(e, Milestone)] == [4, 6]


# --- divergence -----------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["hinge", "wasserstein"])
def test_divergence_surfaces(loss: str) -> None:
    gan = make(loss=loss, optimizer="sgd", g_lr=1e6, d_lr=1e6, g_norm="none", d_depth=2)
    *_, measured, last = train(gan, pictures(), milestones=1)
    assert isinstance(measured, Measured)
    assert isinstance(last, Milestone)
    assert not all(math.isfinite(value) for value in measured.values.values())
    assert not gan.is_finite(last.state)


def test_a_healthy_run_is_finite() -> None:
    gan = make()
    *_, measured, last = train(gan, pictures(), milestones=1)
    assert isinstance(measured, Measured)
    assert isinstance(last, Milestone)
    assert all(math.isfinite(value) for value in measured.values.values())
    assert gan.is_finite(last.state)


# --- golden trajectories --------------------------------------------------------------------------

# (D's loss, G's loss) of 20 iterations. A change of these numbers is a change of results and an
# entry in CHANGELOG.md.
GOLDEN: dict[str, list[tuple[float, float]]] = {
    "mlp": [
        (1.385268, 0.7836493),
        (1.372983, 0.7814433),
        (1.359754, 0.7787253),
        (1.34034, 0.777559),
        (1.327375, 0.776484),
        (1.308452, 0.7759092),
        (1.284901, 0.7761399),
        (1.260921, 0.7754048),
        (1.240064, 0.7736557),
        (1.204059, 0.7734575),
        (1.171072, 0.7711949),
        (1.139999, 0.7669865),
        (1.103157, 0.7668248),
        (1.081125, 0.7588172),
        (1.035597, 0.7568693),
        (0.9986372, 0.7498409),
        (0.9796926, 0.7489308),
        (0.9502056, 0.7492913),
        (0.9337727, 0.7425747),
        (0.9325446, 0.7544869),
    ],
    "dc": [
        (1.385503, 0.6940483),
        (1.384205, 0.6943646),
        (1.382523, 0.6955199),
        (1.379904, 0.6969626),
        (1.37564, 0.6985872),
        (1.369657, 0.6998198),
        (1.359852, 0.7009261),
        (1.349577, 0.7017018),
        (1.337058, 0.7015677),
        (1.323031, 0.7005103),
        (1.299737, 0.6977389),
        (1.284025, 0.6971227),
        (1.263058, 0.6949516),
        (1.23056, 0.696332),
        (1.21921, 0.6945387),
        (1.189278, 0.6957018),
        (1.175259, 0.6957884),
        (1.13556, 0.6984674),
        (1.13048, 0.7030046),
        (1.094051, 0.7092181),
    ],
}


def golden_run(architecture: str) -> Iterator[tuple[float, float]]:
    digits = load_dataset("digits", Path("nowhere"), 8)
    values = {
        "dataset": "digits",
        "image_size": 8,
        "architecture": architecture,
        "g_width": 8,
        "d_width": 8,
        "latent_dim": 16,
        "batch_size": 16,
        "d_steps": 2,
        "penalty": "r1",
        "penalty_weight": 0.1,
        "g_lr": 1e-3,
        "d_lr": 1e-3,
        "budget": {"g_steps": 20},
        "seed": 7,
    }
    gan = GAN(parse(GANConfig, values, "test"), digits.sample_shape, CPU)
    for event in train(gan, digits.train.images, milestones=2):
        if isinstance(event, Measured):
            yield event.values["d_loss"], event.values["g_loss"]


@pytest.mark.parametrize("architecture", ["mlp", "dc"])
def test_golden_trajectory(architecture: str) -> None:
    got = list(golden_run(architecture))
    assert len(got) == 20
    for number, (pair, expected) in enumerate(zip(got, GOLDEN[architecture], strict=True), 1):
        # Linear algebra libraries differ in the last digits.
        assert pair == pytest.approx(expected, rel=1e-4), f"iteration {number}"

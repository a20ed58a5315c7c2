"""Training again, watching it, and continuing it: the same bit for bit."""

from __future__ import annotations

import copy
import io
import itertools
import random
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import harness.run.loop
from harness.data import Part
from harness.run.loop import Measured, Milestone, train
from harness.systems import generate
from harness.systems.gan import GAN

Make = Callable[..., GAN]
Flat = Callable[..., dict[str, Any]]
Same = Callable[..., bool]

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


@pytest.fixture
def timeless(flat: Flat) -> Flat:
    """Return what makes a flat copy of a snapshot without what the clock put into it."""

    def strip(snapshot: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in flat(snapshot).items() if "seconds" not in key}

    return strip


def summary(event: Measured | Milestone) -> tuple[Any, ...]:
    """Return all of an event that must be reproducible."""
    progress = {key: v for key, v in asdict(event.progress).items() if key != "train_seconds"}
    if isinstance(event, Milestone):
        return ("milestone", progress, event.index, event.is_last)
    values = {key: v for key, v in event.values.items() if key != "images_per_second"}
    return ("measured", progress, values)


# --- sameness -------------------------------------------------------------------------------------


@pytest.fixture
def final_state(part: Part, timeless: Flat) -> Flat:
    """Return what trains to the end and returns all that a run leaves behind."""

    def trained(
        gan: GAN, milestones: int, on_event: Callable[[Measured | Milestone], None] = lambda _: None
    ) -> dict[str, Any]:
        event: Measured | Milestone | None = None
        for event in train(gan, part, milestones=milestones):
            on_event(event)
        assert isinstance(event, Milestone)
        state = timeless(event.snapshot())
        assert state.pop(".milestones_reached") == milestones
        return state

    return trained


def disturb(_: object) -> None:
    disturb.calls += 1  # type: ignore[attr-defined]
    torch.manual_seed(disturb.calls)  # type: ignore[attr-defined]
    np.random.seed(disturb.calls)  # type: ignore[attr-defined]
    random.seed(disturb.calls)  # type: ignore[attr-defined]
    torch.rand(3)


disturb.calls = 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("architecture", ["mlp", "dc"])
def test_looking_more_often_changes_nothing(
    make: Make, same: Same, final_state: Flat, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build() -> GAN:
        return make(architecture=architecture, **EVERYTHING)

    watched = build()

    def sample(event: Measured | Milestone) -> None:
        if isinstance(event, Milestone):
            watched.generator.eval()
            generate(watched.generator, (torch.randn(3, 3),))
            watched.generator.train()
            watched.is_finite()
            event.snapshot()

    quiet = final_state(build(), 1)
    assert any(isinstance(v, Tensor) and v.is_floating_point() for v in quiet.values())
    assert same(final_state(build(), 12), quiet)
    assert same(final_state(watched, 12, sample), quiet)
    assert same(final_state(build(), 5, disturb), quiet)
    monkeypatch.setattr(harness.run.loop, "MEASUREMENTS_PER_RUN", 1)
    assert same(final_state(build(), 1), quiet)


def test_training_keeps_the_global_state(make: Make, part: Part) -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    list(train(make(**EVERYTHING), part, milestones=2))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert random.getstate() == before[2]


def test_the_images_are_only_read(make: Make, part: Part) -> None:
    images = part.images.clone()
    list(train(make(), part, milestones=1))
    assert torch.equal(part.images, images)


def test_seeds_give_different_runs(make: Make, same: Same, final_state: Flat) -> None:
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
    make: Make,
    part: Part,
    same: Same,
    timeless: Flat,
    optimizer: str,
    keep: Callable[[Any], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(harness.run.loop, "MEASUREMENTS_PER_RUN", 4)  # one every three iterations
    settings = EVERYTHING | {"optimizer": optimizer}
    events, snapshots = [], []
    for event in train(make(**settings), part, milestones=3):
        events.append(summary(event))
        snapshots.append(keep(event.snapshot()))
    kinds = [(kind, progress["iterations"]) for kind, progress, *_ in events]
    assert kinds == [
        ("milestone", 0),
        ("measured", 3),  # within an interval
        ("measured", 4),  # right before a milestone
        ("milestone", 4),
        ("measured", 6),
        ("measured", 7),
        ("milestone", 7),
        ("measured", 9),
        ("measured", 12),
        ("milestone", 12),
    ]
    final = timeless(snapshots[-1])
    for index in range(len(events) - 1):
        disturb(None)
        rest = []
        for event in train(make(**settings), part, milestones=3, resume=snapshots[index]):
            rest.append(summary(event))
        assert rest == events[index + 1 :], f"after event {index}"
        assert same(timeless(event.snapshot()), final), f"after event {index}"


def test_resuming_where_milestones_fall_together(make: Make, part: Part) -> None:
    seen = [(summary(e), copy.deepcopy(e.snapshot())) for e in train(make(), part, milestones=20)]
    indices = [event[2] for event, _ in seen if event[0] == "milestone"]
    assert indices[0] == 0
    assert indices[1] > 1
    assert indices[-1] == 20
    for place, (_, snapshot) in enumerate(seen):
        rest = [summary(e) for e in train(make(), part, milestones=20, resume=snapshot)]
        assert rest == [event for event, _ in seen[place + 1 :]]


def test_resuming_a_finished_run_yields_nothing_more(make: Make, part: Part) -> None:
    *_, last = train(make(), part, milestones=2)
    resumed = train(make(), part, milestones=2, resume=last.snapshot())
    assert [summary(event) for event in itertools.islice(resumed, 3)] == []


def test_a_snapshot_stays_as_it_was_while_training_goes_on(
    make: Make, part: Part, same: Same, timeless: Flat
) -> None:
    events = train(make(), part, milestones=2)
    early = list(itertools.islice(events, 4))[-1].snapshot()
    before = timeless(early)
    next(events)
    assert same(timeless(early), before)


def test_two_runs_may_resume_from_one_snapshot(make: Make, part: Part) -> None:
    event = list(itertools.islice(train(make(), part, milestones=2), 4))[-1]
    snapshot = copy.deepcopy(event.snapshot())
    runs = [
        [summary(e) for e in train(make(), part, milestones=2, resume=snapshot)] for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_training_time_adds_up_over_a_resume(make: Make, part: Part) -> None:
    event = list(itertools.islice(train(make(), part, milestones=2), 4))[-1]
    snapshot = event.snapshot()
    snapshot["progress"]["train_seconds"] = 1000.0
    *_, last = train(make(), part, milestones=2, resume=snapshot)
    assert 1000 < last.progress.train_seconds < 1060


def test_closing_the_iterator_stops_the_run(make: Make, part: Part) -> None:
    events = train(make(), part, milestones=2)
    next(events)
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert list(events) == []

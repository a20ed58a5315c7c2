"""What every registered system keeps to in bfloat16, in its states and in what it exports."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.data import Facts
from harness.run.loop import Measured, Milestone, train
from harness.run.precision import LARGEST_ERROR, layer_errors
from harness.systems import (
    SYSTEMS,
    Precision,
    generate,
    load_generator,
    save_generator,
)
from harness.systems.precision import InBFloat16

CPU = torch.device("cpu")
GREY = Facts(sample_shape=(1, 8, 8), num_classes=10)
COLOUR = Facts(sample_shape=(3, 16, 16), num_classes=3)
UNLABELLED = Facts(sample_shape=(1, 8, 12))
FLAT = Facts(sample_shape=(2,), num_classes=8)
ALL_FACTS = [GREY, COLOUR, UNLABELLED, FLAT]
BATCH = 4
Small = Any  # what makes them, see conftest.py
in_both = pytest.mark.parametrize("precision", ["float32", "bfloat16"])

Flat = Callable[..., dict[str, Any]]
Same = Callable[..., bool]

pytestmark = pytest.mark.parametrize("name", list(SYSTEMS))


def timeless(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Return a flat snapshot without what the clock put into it."""
    return {key: value for key, value in snapshot.items() if "seconds" not in key}


def disturb(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


# --- in bfloat16 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("facts", ALL_FACTS, ids=str)
def test_weights_and_their_moments_stay_in_float32(
    name: str, small: Small, facts: Facts, flat: Flat
) -> None:
    facts = small.fitting(name, facts)
    system = small.system(name, facts, "bfloat16")
    system.step(small.stream(system).take, 0.0)
    state = flat(system.state_dict())
    assert torch.bfloat16 not in {v.dtype for v in state.values() if isinstance(v, Tensor)}
    measures = system.step(small.stream(system).take, 0.0)
    assert {value.dtype for value in measures.values()} == {torch.float32}


@pytest.mark.parametrize("facts", ALL_FACTS, ids=str)
def test_every_layer_computes_in_bfloat16_what_it_does_in_float32(
    name: str, small: Small, facts: Facts
) -> None:
    facts = small.fitting(name, facts)
    system = small.system(name, facts, "bfloat16")
    errors = dict(layer_errors(system, small.stream(system).take))
    assert any("output" in place for place in errors)
    assert any("gradient" in place for place in errors)
    assert max(errors.values()) < LARGEST_ERROR


def test_steps_in_bfloat16_use_the_weights_of_the_last_update(
    name: str, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[InBFloat16] = []

    set_up = InBFloat16.__init__

    def watched(self: InBFloat16, network: torch.nn.Module) -> None:
        set_up(self, network)
        made.append(self)

    monkeypatch.setattr(InBFloat16, "__init__", watched)
    system = small.system(name, precision="bfloat16")
    batches = small.stream(system)
    assert made
    for _ in range(3):
        before = [[copy.clone() for copy in each._up_to_date()] for each in made]
        system.step(batches.take, 0.0)
        for each, old in zip(made, before, strict=True):
            copies = each._up_to_date()
            for copied, weight in zip(copies, each._weights, strict=True):
                assert torch.equal(copied, weight.bfloat16())
            assert not all(map(torch.equal, copies, old))


# --- states ---------------------------------------------------------------------------------------


@in_both
def test_a_state_returns_and_goes_on_bit_for_bit(
    name: str, small: Small, precision: Precision, flat: Flat, same: Same
) -> None:
    system = small.system(name, precision=precision)
    batches = small.stream(system)
    for _ in range(2):
        system.step(batches.take, 0.0)
    saved = copy.deepcopy(system.state_dict())
    kept = flat(saved)
    # Of another start, so that nothing agrees by chance.
    resumed = small.system(name, precision=precision, seed=9)
    resumed.load_state_dict(saved)
    assert same(flat(resumed.state_dict()), kept)
    for number in range(2):
        batch = batches.take()
        disturb(number)
        expected = system.step(lambda batch=batch: batch, 0.5)
        disturb(number + 10)
        assert same(flat(resumed.step(lambda batch=batch: batch, 0.5)), flat(expected))
    assert same(flat(resumed.state_dict()), flat(system.state_dict()))
    assert same(flat(saved), kept)


@in_both
@pytest.mark.parametrize("facts", [GREY, UNLABELLED, FLAT], ids=str)
def test_it_resumes_bit_for_bit_from_any_snapshot(
    name: str,
    small: Small,
    facts: Facts,
    precision: Precision,
    flat: Flat,
    same: Same,
    tmp_path: Path,
) -> None:
    facts = small.fitting(name, facts)
    points: list[tuple[str, int, dict[str, float]]] = []

    def note(event: Measured | Milestone) -> tuple[str, int, dict[str, float]]:
        values = dict(event.values) if isinstance(event, Measured) else {}
        values.pop("images_per_second", None)
        return (type(event).__name__, event.progress.iterations, values)

    system = small.system(name, facts, precision)
    for number, event in enumerate(train(system, small.part(facts), milestones=2)):
        points.append(note(event))
        torch.save(event.snapshot(), tmp_path / f"{number}.pt")
    final = timeless(flat(event.snapshot()))
    assert len(points) > 3
    for number in range(len(points) - 1):
        disturb(number)
        saved = torch.load(tmp_path / f"{number}.pt", weights_only=True)
        rest = []
        again = small.system(name, facts, precision)
        for event in train(again, small.part(facts), milestones=2, resume=saved):
            rest.append(note(event))
        assert rest == points[number + 1 :], f"after event {number}"
        assert same(timeless(flat(event.snapshot())), final), f"after event {number}"


def test_progress_stays_as_it_was_while_training_goes_on(name: str, small: Small) -> None:
    events = list(train(small.system(name), small.part(small.fitting(name, GREY)), milestones=1))
    counts = [tuple(event.progress.counts.values()) for event in events]
    assert set(counts[0]) == {0}
    for before, after in itertools.pairwise(counts[:-1]):
        assert before < after


# --- its generator --------------------------------------------------------------------------------


@pytest.mark.parametrize("facts", ALL_FACTS, ids=str)
def test_its_generator_is_saved_and_loaded_with_the_same_outputs(
    name: str, small: Small, facts: Facts, tmp_path: Path
) -> None:
    facts = small.fitting(name, facts)
    system = small.system(name, facts)
    batches = small.stream(system)
    for _ in range(3):
        system.step(batches.take, 0.0)
    generator = system.networks[type(system).sampled(system.config)].eval()
    save_generator(tmp_path, generator, system.config, facts)
    loaded, spec = load_generator(tmp_path)
    assert spec.facts == facts
    assert spec.config == system.config.model_dump(mode="json")
    assert not loaded.training
    inputs = small.inputs(system.config, facts, 6, seed=2)
    for one, other in zip(
        inputs, spec.draw_inputs(6, seed=2, sources=small.sources(facts, 6)), strict=True
    ):
        assert torch.equal(one, other)
    with torch.inference_mode():
        assert torch.equal(loaded(*inputs), generator(*inputs))
    images = generate(loaded, inputs)
    assert torch.equal(images, generate(generator, inputs))
    assert images.dtype == facts.kind.dtype
    assert images.shape == (6, *facts.sample_shape)
    assert images.float().std() > 0


def test_its_inputs_are_a_function_of_their_seed(name: str, small: Small) -> None:
    config = small.config(name)
    before = torch.get_rng_state()
    first = small.inputs(config, small.fitting(name, GREY), 50, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    again, other = (
        small.inputs(config, small.fitting(name, GREY), 50, seed=3),
        small.inputs(config, small.fitting(name, GREY), 50, seed=4),
    )
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    if not config.translates:  # then nothing is drawn
        assert not all(torch.equal(*pair) for pair in zip(first, other, strict=True))
    assert all(each.device.type == "cpu" for each in first)


def test_sampling_changes_no_training_state(
    name: str, small: Small, flat: Flat, same: Same
) -> None:
    watched, quiet = small.system(name), small.system(name)
    feeds = small.stream(watched), small.stream(quiet)
    generator = watched.networks[type(watched).sampled(watched.config)]
    for _ in range(3):
        before, global_state = flat(watched.state_dict()), torch.get_rng_state()
        generator.eval()
        generate(generator, small.inputs(watched.config, small.fitting(name, GREY), 3, seed=0))
        generator.train()
        assert same(flat(watched.state_dict()), before)
        assert torch.equal(torch.get_rng_state(), global_state)
        for system, feed in zip((watched, quiet), feeds, strict=True):
            system.step(feed.take, 0.0)
    assert same(flat(watched.state_dict()), flat(quiet.state_dict()))

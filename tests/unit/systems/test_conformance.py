"""What every registered system keeps to, whatever it is made of."""

from __future__ import annotations

import copy
import itertools
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.config import parse
from harness.data import Batches, Facts, Part
from harness.errors import HarnessError
from harness.run.loop import Measured, Milestone, train
from harness.run.precision import LARGEST_ERROR, layer_errors
from harness.systems import (
    SYSTEMS,
    Precision,
    System,
    TrainConfig,
    draw_inputs,
    generate,
    load_generator,
    save_generator,
)
from harness.systems.precision import InBFloat16

CPU = torch.device("cpu")
GREY = Facts(sample_shape=(1, 8, 8), num_classes=10)
COLOUR = Facts(sample_shape=(3, 16, 16), num_classes=3)
UNLABELLED = Facts(sample_shape=(1, 8, 12))
ALL_FACTS = [GREY, COLOUR, UNLABELLED]
BATCH = 4
in_both = pytest.mark.parametrize("precision", ["float32", "bfloat16"])

Flat = Callable[..., dict[str, Any]]
Same = Callable[..., bool]

pytestmark = pytest.mark.parametrize("name", list(SYSTEMS))


def small(name: str, **changes: Any) -> TrainConfig:
    """Return a system's config with small networks, whatever their sizes are called."""
    sizes = {
        key: 4 if key.endswith("width") else 3
        for key in SYSTEMS[name].Config.model_fields
        if key.endswith(("width", "latent_dim"))
    }
    settings = {"system": name, "dataset": "digits", "batch_size": BATCH}
    budget = {"budget": {"images": 5 * BATCH}}
    return parse(SYSTEMS[name].Config, settings | sizes | budget | changes, "test")


def make(
    name: str, facts: Facts = GREY, precision: Precision = "float32", **changes: Any
) -> System[Any]:
    return SYSTEMS[name](small(name, **changes), facts, CPU, precision)


def part_of(facts: Facts, num: int = 11) -> Part:
    """Return random images, labelled where the data are."""
    generator = torch.Generator().manual_seed(0)
    shape = (num, *facts.sample_shape)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    labels = torch.arange(num) % facts.num_classes if facts.num_classes else None
    return Part(images=images, labels=labels)


def stream(system: System[Any]) -> Batches:
    order = torch.Generator().manual_seed(1)
    return Batches(part_of(system.facts), system.config.batch_size, order)


def timeless(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Return a flat snapshot without what the clock put into it."""
    return {key: value for key, value in snapshot.items() if "seconds" not in key}


def disturb(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


# --- what it is made of ---------------------------------------------------------------------------


def test_its_config_names_it(name: str) -> None:
    assert small(name).system == name
    assert SYSTEMS.describe()[name]


@pytest.mark.parametrize("facts", ALL_FACTS, ids=str)
def test_it_is_built_for_several_shapes(name: str, facts: Facts) -> None:
    system = make(name, facts)
    config = system.config
    assert list(system.networks) == list(type(system).builders(config, facts))
    assert type(system).sampled(config) in system.networks
    assert all(module.training for each in system.networks.values() for module in each.modules())
    assert set(system.counts) == set(config.units)
    assert set(system.counts.values()) == {0}
    assert system.is_finite()
    inputs = draw_inputs(config, facts, 5, seed=0)
    assert {len(each) for each in inputs} == {5}
    generator = system.networks[type(system).sampled(config)].eval()
    with torch.inference_mode():
        images = generator(*inputs)
    assert images.shape == (5, *facts.sample_shape)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1


@pytest.mark.parametrize("facts", ALL_FACTS, ids=str)
def test_parameters_are_counted_as_built(name: str, facts: Facts) -> None:
    system = make(name, facts)
    assert type(system).num_parameters(system.config, facts) == {
        key: sum(each.numel() for each in network.parameters())
        for key, network in system.networks.items()
    }


def test_every_weight_has_exactly_one_optimizer(name: str) -> None:
    system = make(name)
    trained = [
        id(weight)
        for optimizer in system.optimizers.values()
        for group in optimizer.param_groups
        for weight in group["params"]
    ]
    weights = [id(p) for network in system.networks.values() for p in network.parameters()]
    assert sorted(trained) == sorted(weights)


def test_random_streams_and_networks_share_no_name(name: str) -> None:
    system = make(name)
    # "order" is the loop's, "samples" that of what is scored: equal names are equal seeds.
    names = [*type(system).streams, *system.networks, "order", "samples"]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("side", [6, 30])
def test_sides_that_do_not_fit_are_refused_or_built(name: str, side: int) -> None:
    facts = Facts(sample_shape=(1, side, side))
    refusal = None
    try:
        small(name).check(facts)
    except HarnessError as error:
        refusal = str(error)
    if refusal is not None:
        assert "\n" not in refusal
        with pytest.raises(HarnessError, match="image_size: "):
            make(name, facts)
        return
    system = make(name, facts)
    system.step(stream(system).take, 0.0)
    assert system.is_finite()


# --- initialisation -------------------------------------------------------------------------------


def test_initialisation_depends_on_the_seed_only(name: str, flat: Flat, same: Same) -> None:
    states = []
    for seed in (1, 2):
        disturb(seed)
        before = torch.get_rng_state()
        states.append(flat(make(name).state_dict()))
        assert torch.equal(torch.get_rng_state(), before)
    assert same(*states)
    other = flat(make(name, seed=1).state_dict())
    for network in make(name).networks:
        keys = [key for key in states[0] if key.startswith(f".networks.{network}.")]
        assert any(not torch.equal(states[0][key], other[key]) for key in keys)


# --- training -------------------------------------------------------------------------------------


@in_both
@pytest.mark.parametrize("facts", ALL_FACTS, ids=str)
def test_it_trains(name: str, facts: Facts, precision: Precision, flat: Flat) -> None:
    system = make(name, facts, precision)
    before = flat(dict(system.state_dict()["networks"]))
    part = part_of(facts)
    events = list(train(system, part, milestones=1))
    measured = [event for event in events if isinstance(event, Measured)]
    assert 1 <= len(measured) <= 5
    assert all(math.isfinite(value) for event in measured for value in event.values.values())
    last = events[-1]
    assert isinstance(last, Milestone)
    assert last.is_last
    assert last.progress.images_seen >= 5 * BATCH
    assert dict(last.progress.counts) == dict(system.counts)
    assert all(count > 0 for count in system.counts.values())
    assert system.is_finite()
    assert torch.equal(part.images, part_of(facts).images)
    after = flat(dict(system.state_dict()["networks"]))
    for network in system.networks:
        keys = [key for key in before if key.startswith(f".{network}.")]
        assert any(not torch.equal(before[key], after[key]) for key in keys)


def test_every_iteration_costs_the_same(name: str) -> None:
    system = make(name)
    batches = stream(system)
    costs = []
    for number in range(4):
        seen, counts = batches.images_seen, dict(system.counts)
        system.step(batches.take, number / 4)
        spent = {unit: system.counts[unit] - counts[unit] for unit in counts}
        costs.append((batches.images_seen - seen, spent))
    assert costs == costs[:1] * 4


@pytest.mark.parametrize("unit", ["images", "seconds", "own"])
def test_it_trains_for_a_budget_in_any_of_its_units(name: str, unit: str) -> None:
    units = SYSTEMS[name].Config.units if unit == "own" else [unit]
    for each in units:
        amount = 0.01 if each == "seconds" else 7
        system = make(name, budget={each: amount})
        *_, last = train(system, part_of(GREY), milestones=2)
        assert last.progress.share(system.config.budget) == 1


@pytest.mark.parametrize("facts", ALL_FACTS, ids=str)
def test_its_panels_draw_what_its_steps_measure(name: str, facts: Facts) -> None:
    system = make(name, facts)
    measures = system.step(stream(system).take, 0.0)
    assert all(value.shape == () and not value.requires_grad for value in measures.values())
    panels = type(system).panels(system.config)
    assert len({panel.title for panel in panels}) == len(panels)
    for panel in panels:
        assert panel.title
        assert panel.unit
        assert panel.curves
        assert set(panel.curves) <= set(measures)
        assert all(panel.curves.values())


@in_both
def test_a_step_reads_nothing_back(
    name: str, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(self: Tensor, *_: Any) -> Any:
        raise AssertionError("a step read a tensor back to the host")

    system = make(name, precision=precision)
    batch = stream(system).take()
    with monkeypatch.context() as patch:
        for method in ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__"):
            patch.setattr(Tensor, method, read)
        system.step(lambda: batch, 0.0)
        system.step(lambda: batch, 0.5)


def test_training_ignores_and_keeps_the_global_random_state(
    name: str, flat: Flat, same: Same
) -> None:
    results = []
    for seed in (1, 2):
        system = make(name)
        batches = stream(system)
        for number in range(3):
            disturb(10 * seed + number)
            before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
            system.step(batches.take, number / 3)
            assert torch.equal(torch.get_rng_state(), before[0])
            assert np.random.get_state()[1].tolist() == before[1]
            assert random.getstate() == before[2]
        results.append(flat(system.state_dict()))
    assert same(*results)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 13])
def test_other_batch_sizes_work(name: str, batch_size: int) -> None:
    refusal = None
    try:
        small(name, batch_size=batch_size)
    except HarnessError as error:
        refusal = str(error)
    if refusal is not None:  # batch norm, say, needs more than one
        assert batch_size == 1
        assert "batch_size = 1: " in refusal
        return
    system = make(name, batch_size=batch_size)
    batches = stream(system)
    for _ in range(2):
        measures = system.step(batches.take, 0.0)
    assert batches.images_seen % batch_size == 0
    assert all(math.isfinite(value.item()) for value in measures.values())
    assert system.is_finite()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_bad_weight_of_any_network_is_not_finite(name: str, value: float) -> None:
    for network in make(name).networks:
        system = make(name)
        with torch.no_grad():
            list(system.networks[network].parameters())[-1].view(-1)[0] = value
        assert not system.is_finite()


# --- in bfloat16 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("facts", ALL_FACTS, ids=str)
def test_weights_and_their_moments_stay_in_float32(name: str, facts: Facts, flat: Flat) -> None:
    system = make(name, facts, "bfloat16")
    system.step(stream(system).take, 0.0)
    state = flat(system.state_dict())
    assert torch.bfloat16 not in {v.dtype for v in state.values() if isinstance(v, Tensor)}
    measures = system.step(stream(system).take, 0.0)
    assert {value.dtype for value in measures.values()} == {torch.float32}


@pytest.mark.parametrize("facts", ALL_FACTS, ids=str)
def test_every_layer_computes_in_bfloat16_what_it_does_in_float32(name: str, facts: Facts) -> None:
    system = make(name, facts, "bfloat16")
    errors = dict(layer_errors(system, stream(system).take))
    assert any("output" in place for place in errors)
    assert any("gradient" in place for place in errors)
    assert max(errors.values()) < LARGEST_ERROR


def test_steps_in_bfloat16_use_the_weights_of_the_last_update(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[InBFloat16] = []

    set_up = InBFloat16.__init__

    def watched(self: InBFloat16, network: torch.nn.Module) -> None:
        set_up(self, network)
        made.append(self)

    monkeypatch.setattr(InBFloat16, "__init__", watched)
    system = make(name, precision="bfloat16")
    batches = stream(system)
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
    name: str, precision: Precision, flat: Flat, same: Same
) -> None:
    system = make(name, precision=precision)
    batches = stream(system)
    for _ in range(2):
        system.step(batches.take, 0.0)
    saved = copy.deepcopy(system.state_dict())
    kept = flat(saved)
    # Of another start, so that nothing agrees by chance.
    resumed = make(name, precision=precision, seed=9)
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
@pytest.mark.parametrize("facts", [GREY, UNLABELLED], ids=str)
def test_it_resumes_bit_for_bit_from_any_snapshot(
    name: str, facts: Facts, precision: Precision, flat: Flat, same: Same, tmp_path: Path
) -> None:
    points: list[tuple[str, int, dict[str, float]]] = []

    def note(event: Measured | Milestone) -> tuple[str, int, dict[str, float]]:
        values = dict(event.values) if isinstance(event, Measured) else {}
        values.pop("images_per_second", None)
        return (type(event).__name__, event.progress.iterations, values)

    system = make(name, facts, precision)
    for number, event in enumerate(train(system, part_of(facts), milestones=2)):
        points.append(note(event))
        torch.save(event.snapshot(), tmp_path / f"{number}.pt")
    final = timeless(flat(event.snapshot()))
    assert len(points) > 3
    for number in range(len(points) - 1):
        disturb(number)
        saved = torch.load(tmp_path / f"{number}.pt", weights_only=True)
        rest = []
        again = make(name, facts, precision)
        for event in train(again, part_of(facts), milestones=2, resume=saved):
            rest.append(note(event))
        assert rest == points[number + 1 :], f"after event {number}"
        assert same(timeless(flat(event.snapshot())), final), f"after event {number}"


def test_progress_stays_as_it_was_while_training_goes_on(name: str) -> None:
    events = list(train(make(name), part_of(GREY), milestones=1))
    counts = [tuple(event.progress.counts.values()) for event in events]
    assert set(counts[0]) == {0}
    for before, after in itertools.pairwise(counts[:-1]):
        assert before < after


# --- its generator --------------------------------------------------------------------------------


@pytest.mark.parametrize("facts", ALL_FACTS, ids=str)
def test_its_generator_is_saved_and_loaded_with_the_same_outputs(
    name: str, facts: Facts, tmp_path: Path
) -> None:
    system = make(name, facts)
    batches = stream(system)
    for _ in range(3):
        system.step(batches.take, 0.0)
    generator = system.networks[type(system).sampled(system.config)].eval()
    save_generator(tmp_path, generator, system.config, facts)
    loaded, spec = load_generator(tmp_path)
    assert spec.facts == facts
    assert spec.config == system.config.model_dump(mode="json")
    assert not loaded.training
    inputs = draw_inputs(system.config, facts, 6, seed=2)
    for one, other in zip(inputs, spec.draw_inputs(6, seed=2), strict=True):
        assert torch.equal(one, other)
    with torch.inference_mode():
        assert torch.equal(loaded(*inputs), generator(*inputs))
    images = generate(loaded, inputs)
    assert torch.equal(images, generate(generator, inputs))
    assert images.dtype == torch.uint8
    assert images.shape == (6, *facts.sample_shape)
    assert images.float().std() > 0


def test_its_inputs_are_a_function_of_their_seed(name: str) -> None:
    config = small(name)
    before = torch.get_rng_state()
    first = draw_inputs(config, GREY, 50, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    again, other = draw_inputs(config, GREY, 50, seed=3), draw_inputs(config, GREY, 50, seed=4)
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not all(torch.equal(*pair) for pair in zip(first, other, strict=True))
    assert all(each.device.type == "cpu" for each in first)


def test_sampling_changes_no_training_state(name: str, flat: Flat, same: Same) -> None:
    watched, quiet = make(name), make(name)
    feeds = stream(watched), stream(quiet)
    generator = watched.networks[type(watched).sampled(watched.config)]
    for _ in range(3):
        before, global_state = flat(watched.state_dict()), torch.get_rng_state()
        generator.eval()
        generate(generator, draw_inputs(watched.config, GREY, 3, seed=0))
        generator.train()
        assert same(flat(watched.state_dict()), before)
        assert torch.equal(torch.get_rng_state(), global_state)
        for system, feed in zip((watched, quiet), feeds, strict=True):
            system.step(feed.take, 0.0)
    assert same(flat(watched.state_dict()), flat(quiet.state_dict()))

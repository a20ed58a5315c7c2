"""What every registered system keeps to, whatever it is made of."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.data import Facts
from harness.errors import HarnessError
from harness.run.loop import Measured, Milestone, train
from harness.systems import (
    SYSTEMS,
    Precision,
)

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


def disturb(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


# --- what it is made of ---------------------------------------------------------------------------


def test_its_config_names_it(name: str, small: Small) -> None:
    assert small.config(name).system == name
    assert SYSTEMS.describe()[name]


@pytest.mark.parametrize("facts", ALL_FACTS, ids=str)
def test_it_is_built_for_several_shapes(name: str, small: Small, facts: Facts) -> None:
    facts = small.fitting(name, facts)
    system = small.system(name, facts)
    config = system.config
    assert list(system.networks) == list(type(system).builders(config, facts))
    assert type(system).sampled(config) in system.networks
    assert all(module.training for each in system.networks.values() for module in each.modules())
    assert set(system.counts) == set(config.units)
    assert set(system.counts.values()) == {0}
    assert system.is_finite()
    inputs = small.inputs(config, facts, 5, seed=0)
    assert {len(each) for each in inputs} == {5}
    generator = system.networks[type(system).sampled(config)].eval()
    with torch.inference_mode():
        images = generator(*inputs)
    assert images.shape == (5, *facts.sample_shape)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1 or not facts.kind.bounded


@pytest.mark.parametrize("facts", ALL_FACTS, ids=str)
def test_parameters_are_counted_as_built(name: str, small: Small, facts: Facts) -> None:
    facts = small.fitting(name, facts)
    system = small.system(name, facts)
    assert type(system).num_parameters(system.config, facts) == {
        key: sum(each.numel() for each in network.parameters())
        for key, network in system.networks.items()
        if any(each.requires_grad for each in network.parameters())
    }


def test_every_weight_has_exactly_one_optimizer(name: str, small: Small) -> None:
    system = small.system(name)
    trained = [
        id(weight)
        for optimizer in system.optimizers.values()
        for group in optimizer.param_groups
        for weight in group["params"]
    ]
    weights = [
        id(weight)
        for network in system.networks.values()
        for weight in network.parameters()
        if weight.requires_grad
    ]
    assert sorted(trained) == sorted(weights)


def test_random_streams_and_networks_share_no_name(name: str, small: Small) -> None:
    system = small.system(name)
    # "order" is the loop's, "samples" that of what is scored: equal names are equal seeds.
    names = [*type(system).streams, *system.networks, "order", "samples"]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("side", [6, 30])
def test_sides_that_do_not_fit_are_refused_or_built(name: str, small: Small, side: int) -> None:
    facts = small.fitting(name, Facts(sample_shape=(1, side, side)))
    refusal = None
    try:
        small.config(name).check(facts)
    except HarnessError as error:
        refusal = str(error)
    if refusal is not None:
        assert "\n" not in refusal
        with pytest.raises(HarnessError, match="image_size: "):
            small.system(name, facts)
        return
    system = small.system(name, facts)
    system.step(small.stream(system).take, 0.0)
    assert system.is_finite()


# --- initialisation -------------------------------------------------------------------------------


def test_initialisation_depends_on_the_seed_only(
    name: str, small: Small, flat: Flat, same: Same
) -> None:
    states = []
    for seed in (1, 2):
        disturb(seed)
        before = torch.get_rng_state()
        states.append(flat(small.system(name).state_dict()))
        assert torch.equal(torch.get_rng_state(), before)
    assert same(*states)
    other = flat(small.system(name, seed=1).state_dict())
    for network in small.system(name).networks:
        keys = [key for key in states[0] if key.startswith(f".networks.{network}.")]
        assert any(not torch.equal(states[0][key], other[key]) for key in keys)


# --- training -------------------------------------------------------------------------------------


@in_both
@pytest.mark.parametrize("facts", ALL_FACTS, ids=str)
def test_it_trains(name: str, small: Small, facts: Facts, precision: Precision, flat: Flat) -> None:
    facts = small.fitting(name, facts)
    system = small.system(name, facts, precision)
    before = flat(dict(system.state_dict()["networks"]))
    part = small.part(facts)
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
    assert torch.equal(part.images, small.part(facts).images)
    after = flat(dict(system.state_dict()["networks"]))
    for network in system.networks:
        keys = [key for key in before if key.startswith(f".{network}.")]
        assert any(not torch.equal(before[key], after[key]) for key in keys)


def test_every_iteration_costs_the_same(name: str, small: Small) -> None:
    system = small.system(name)
    batches = small.stream(system)
    costs = []
    for number in range(4):
        seen, counts = batches.images_seen, dict(system.counts)
        system.step(batches.take, number / 4)
        spent = {unit: system.counts[unit] - counts[unit] for unit in counts}
        costs.append((batches.images_seen - seen, spent))
    assert costs == costs[:1] * 4


@pytest.mark.parametrize("unit", ["images", "seconds", "own"])
def test_it_trains_for_a_budget_in_any_of_its_units(name: str, small: Small, unit: str) -> None:
    units = SYSTEMS[name].Config.units if unit == "own" else [unit]
    for each in units:
        amount = 0.01 if each == "seconds" else 7
        system = small.system(name, budget={each: amount})
        *_, last = train(system, small.part(small.fitting(name, GREY)), milestones=2)
        assert last.progress.share(system.config.budget) == 1


@pytest.mark.parametrize("facts", ALL_FACTS, ids=str)
def test_its_panels_draw_what_its_steps_measure(name: str, small: Small, facts: Facts) -> None:
    facts = small.fitting(name, facts)
    system = small.system(name, facts)
    measures = system.step(small.stream(system).take, 0.0)
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
    name: str, small: Small, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(self: Tensor, *_: Any) -> Any:
        raise AssertionError("a step read a tensor back to the host")

    system = small.system(name, precision=precision)
    batch = small.stream(system).take()
    with monkeypatch.context() as patch:
        for method in ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__"):
            patch.setattr(Tensor, method, read)
        system.step(lambda: batch, 0.0)
        system.step(lambda: batch, 0.5)


def test_training_ignores_and_keeps_the_global_random_state(
    name: str, small: Small, flat: Flat, same: Same
) -> None:
    results = []
    for seed in (1, 2):
        system = small.system(name)
        batches = small.stream(system)
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
def test_other_batch_sizes_work(name: str, small: Small, batch_size: int) -> None:
    refusal = None
    try:
        small.config(name, batch_size=batch_size)
    except HarnessError as error:
        refusal = str(error)
    if refusal is not None:  # batch norm, say, needs more than one
        assert batch_size == 1
        assert "batch_size = 1: " in refusal
        return
    system = small.system(name, batch_size=batch_size)
    batches = small.stream(system)
    for _ in range(2):
        measures = system.step(batches.take, 0.0)
    assert batches.images_seen % batch_size == 0
    assert all(math.isfinite(value.item()) for value in measures.values())
    assert system.is_finite()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_bad_weight_of_any_network_is_not_finite(name: str, small: Small, value: float) -> None:
    for network in small.system(name).networks:
        system = small.system(name)
        with torch.no_grad():
            list(system.networks[network].parameters())[-1].view(-1)[0] = value
        assert not system.is_finite()

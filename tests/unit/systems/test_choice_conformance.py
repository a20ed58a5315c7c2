"""What every system keeps to under every choice: each entry of each registry that settings name."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
import torch
from torch import Tensor, nn

from harness.data import Facts
from harness.errors import HarnessError
from harness.registry import Registry
from harness.run.precision import LARGEST_ERROR, layer_errors
from harness.systems import (
    SYSTEMS,
    Precision,
    System,
    TrainConfig,
    generate,
    load_generator,
    save_generator,
)
from harness.systems.gan.augment import AUGMENTATIONS, check_augmentation

GREY = Facts(sample_shape=(1, 28, 28), num_classes=10)
COLOUR = Facts(sample_shape=(3, 32, 32), num_classes=4)
FLAT = Facts(sample_shape=(2,), num_classes=8)
ALL_FACTS = [GREY, COLOUR, FLAT]
STEPS = 5

Small = Any  # what makes small systems, see conftest.py
Flat = Any
Same = Any


class Choice(NamedTuple):
    """A system with some settings away from their defaults."""

    system: str
    settings: dict[str, Any]

    def __str__(self) -> str:
        return "-".join([self.system, *(f"{key}={each}" for key, each in self.settings.items())])


def named_by(annotation: Any) -> Iterator[Registry[Any]]:
    """Return the registries of which an annotation, or a part of it, names entries."""
    check = getattr(annotation, "func", None)
    if check is check_augmentation:
        yield AUGMENTATIONS
    elif isinstance(getattr(check, "__self__", None), Registry):
        yield check.__self__  # type: ignore[union-attr]
    for part in get_args(annotation):
        yield from named_by(part)


def registries(config: type[TrainConfig]) -> dict[Registry[Any], list[str]]:
    """Return {registry: settings that name one of its entries}."""
    found: dict[Registry[Any], list[str]] = {}
    for key, field in config.model_fields.items():
        for registry in named_by(field.rebuild_annotation()):
            found.setdefault(registry, []).append(key)
    return found


def choices() -> Iterator[Choice]:
    """Return every entry of every registry, in all the settings that may name it at once."""
    for system in SYSTEMS:
        for registry, keys in registries(SYSTEMS[system].Config).items():
            for name in registry:
                yield Choice(system, dict.fromkeys(keys, name))


# What has no registry, or acts with others.
KNOBS = [
    Choice("gan", {"average": 40}),
    Choice("gan", {"average": 40, "architecture": "dcgan32", "conditioning": "projection"}),
    Choice("gan", {"architecture": "resnet", "conditioning": "projection"}),
    Choice("gan", {"pack": 2}),
    Choice("gan", {"augment": "translation+cutout", "augment_target": 0.6}),
    Choice("gan", {"augment_reals": "rotation+crop", "augment": "flip"}),
    Choice("gan", {"instance_noise": 0.5, "instance_noise_until": 0.5}),
    Choice("gan", {"smooth_real": 0.1, "smooth_fake": 0.1, "flip_labels": 0.2}),
    Choice("gan", {"truncation": 0.7}),
    Choice("gan", {"d_minibatch_std": True}),
    Choice("gan", {"d_minibatch_std": True, "architecture": "mlp", "penalty": "r1"}),
    # At the usual rates the gain is too small within five steps for queries to move.
    Choice("gan", {"g_attention": True, "d_attention": True, "g_lr": 0.01, "d_lr": 0.01}),
    Choice("gan", {"g_residual": 1, "d_residual": 1, "penalty": "r1_r2"}),
    Choice("gan", {"g_kernel": 3, "d_kernel": 5, "g_norm_after": True, "g_output": "sigmoid"}),
    Choice("gan", {"g_dropout": 0.2, "d_dropout": 0.2, "d_norm": "batch"}),
    Choice("gan", {"penalty": "gradient", "penalty_interval": 2, "d_steps": 3}),
    Choice("gan", {"clip_grad": 0.1, "warm_up": 0.5, "g_optimizer": "sgd", "g_momentum": 0.9}),
    Choice("gan", {"pad_to": 36}),
    Choice("gan", {"architecture": "stylegan", "path_length": 2.0, "conditioning": "projection"}),
    Choice(
        "gan",
        {
            "architecture": "stylegan",
            "mixing": 0.5,
            "g_psi": 0.5,
            "g_mapping": 0,
            "g_skip": False,
            "path_length": 1.0,
            "path_length_interval": 2,
            "penalty": "r1",
            "penalty_interval": 2,
            "average": 40,
        },
    ),
    Choice("vae", {"likelihood": "gaussian", "decoder_dropout": 0.2}),
    Choice("vae", {"decoder_output": "sigmoid", "kl_weight": 2.0, "schedule": "cosine"}),
    Choice("vae", {"pad_to": 36, "likelihood": "gaussian"}),
]
every_choice = pytest.mark.parametrize("choice", [*choices(), *KNOBS], ids=str)


def settings_of(choice: Choice, facts: Facts = GREY, **changes: Any) -> dict[str, Any]:
    """Return the choice's settings, of convolutions where it does not say and there are images."""
    known = SYSTEMS[choice.system].Config.model_fields
    usual = {"architecture": "dc" if facts.kind.bounded else "mlp", "batch_size": 6}
    if "architecture" in choice.settings:  # four units of a ReLU may all be dead
        usual |= {"g_width": 8, "d_width": 8}
    usual = {key: value for key, value in usual.items() if key in known}
    return usual | changes | choice.settings


def start(
    small: Small,
    choice: Choice,
    facts: Facts | None = None,
    precision: Precision = "float32",
    **changes: Any,
) -> System[Any]:
    """Return such a system for these facts, else for the first that it takes; or skip."""
    refused = ""
    for each in ALL_FACTS if facts is None else [facts]:
        try:
            settings = settings_of(choice, each, **changes)
            return small.system(choice.system, each, precision, **settings)
        except HarnessError as error:
            refused = str(error)
    pytest.skip(refused)


def sampled(system: System[Any]) -> nn.Module:
    return system.networks[type(system).sampled(system.config)]


def test_every_registry_of_systems_is_one_that_settings_name() -> None:
    there = {
        value
        for name, module in list(sys.modules.items())
        if name.startswith("harness.systems")
        for value in vars(module).values()
        if isinstance(value, Registry)
    }
    named = {registry for name in SYSTEMS for registry in registries(SYSTEMS[name].Config)}
    assert there - named == {SYSTEMS}
    assert all(list(registry) for registry in named)


@every_choice
def test_it_is_built_somewhere_and_refused_elsewhere_by_name(choice: Choice, small: Small) -> None:
    refusals = []
    for facts in ALL_FACTS:
        try:
            system = small.system(choice.system, facts, **settings_of(choice, facts))
        except HarnessError as error:
            refusals.append(str(error))
            continue
        framed = getattr(system.config, "framed_shape", lambda facts: facts.sample_shape)(facts)
        inputs = small.inputs(system.config, system.facts, 5, seed=0)
        with torch.no_grad():
            assert sampled(system)(*inputs).shape == (5, *framed)
            assert sampled(system).eval()(*inputs).shape == (5, *facts.sample_shape)
    assert len(refusals) < len(ALL_FACTS)
    for refusal in refusals:
        assert "\n" not in refusal
        assert any(key in refusal for key in choice.settings)


class Watched:
    """Notes which weights every optimiser's steps change, and that nothing else does."""

    def __init__(self, system: System[Any]) -> None:
        self.weights = {
            f"{name}.{key}": weight
            for name, network in system.networks.items()
            for key, weight in network.named_parameters()
            if weight.requires_grad
        }
        self.changed: dict[str, set[str]] = {name: set() for name in system.optimizers}
        self.before = self.values()
        for name, optimizer in system.optimizers.items():
            optimizer.register_step_pre_hook(lambda *_: self.check())
            optimizer.register_step_post_hook(lambda *_, name=name: self.note(name))

    def values(self) -> dict[str, Tensor]:
        return {key: weight.detach().clone() for key, weight in self.weights.items()}

    def differing(self) -> set[str]:
        return {key for key, old in self.before.items() if not torch.equal(old, self.weights[key])}

    def check(self) -> None:
        assert not self.differing(), "changed outside of an optimiser's step"

    def note(self, name: str) -> None:
        self.changed[name] |= self.differing()
        self.before = self.values()


@every_choice
@pytest.mark.parametrize("facts", ALL_FACTS, ids=["grey", "colour", "flat"])
def test_only_the_right_weights_move_and_all_is_finite(
    choice: Choice, facts: Facts, small: Small
) -> None:
    system = start(small, choice, facts)
    watched, batches = Watched(system), small.stream(system)
    before = torch.get_rng_state()
    for number in range(STEPS):
        measures = system.step(batches.take, number / STEPS)
        assert all(math.isfinite(value.item()) for value in measures.values())
    watched.check()
    assert torch.equal(torch.get_rng_state(), before)
    assert system.is_finite()
    moved: set[str] = set()
    for name, optimizer in system.optimizers.items():
        own = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        its = {key for key, weight in watched.weights.items() if id(weight) in own}
        assert watched.changed[name] <= its
        assert len(its) == len(own), "an optimiser has weights that are not trained"
        assert not moved & its, "two optimisers share a weight"
        moved |= its
    assert moved == set(watched.weights)
    # A bias before a norm has no gradient to speak of; matrices have, once gains have left 0.
    still = moved.difference(*watched.changed.values())
    assert [key for key in sorted(still) if watched.weights[key].dim() > 1] == []


@every_choice
def test_it_goes_on_bit_for_bit(choice: Choice, small: Small, flat: Flat, same: Same) -> None:
    system = start(small, choice)
    batches = small.stream(system)
    for number in range(3):
        system.step(batches.take, number / STEPS)
    for buffer in system.buffers.values():
        buffer.fill_(0.5)  # few steps hardly leave the start
    file = io.BytesIO()
    torch.save(system.state_dict(), file)
    file.seek(0)
    resumed = start(small, choice, system.facts, seed=9)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    taken = [batches.take() for _ in range(2 * getattr(system.config, "d_steps", 1))]
    torch.manual_seed(1)
    feed = iter(taken)
    expected = [system.step(lambda: next(feed), number / STEPS) for number in (3, 4)]
    torch.manual_seed(2)
    again = iter(taken)
    got = [resumed.step(lambda: next(again), number / STEPS) for number in (3, 4)]
    assert same(flat(got), flat(expected))
    assert same(flat(resumed.state_dict()), flat(system.state_dict()))


@every_choice
def test_its_export_makes_the_same_images(choice: Choice, small: Small, tmp_path: Path) -> None:
    system = start(small, choice)
    batches = small.stream(system)
    for number in range(2):
        system.step(batches.take, number / STEPS)
    save_generator(tmp_path, sampled(system).eval(), system.config, system.facts)
    before = torch.get_rng_state()
    loaded, spec = load_generator(tmp_path)
    inputs = spec.draw_inputs(7, seed=2, sources=small.sources(system.facts, 7))
    images = generate(loaded, inputs)
    assert torch.equal(torch.get_rng_state(), before)
    assert images.shape == (7, *system.facts.sample_shape)
    assert torch.equal(
        images, generate(sampled(system), small.inputs(system.config, system.facts, 7, seed=2))
    )


@every_choice
def test_it_trains_on_any_batch_in_bfloat16_and_reads_nothing_back(
    choice: Choice, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven samples at once, where that is no refused number."""

    def read(self: Tensor, *_: Any) -> Any:
        raise AssertionError("a step read a tensor back to the host")

    odd = {"batch_size": 7}
    if choice.settings.get("pack", 1) > 1:
        with pytest.raises(HarnessError, match="pack = "):
            small.config(choice.system, **settings_of(choice, **odd))
        odd = {}
    if choice.settings.get("d_minibatch_std"):
        with pytest.raises(HarnessError, match="no group of 2 to 4 divides"):
            small.config(choice.system, **settings_of(choice, **odd))
        odd = {"batch_size": 6}
    system = start(small, choice, precision="bfloat16", **odd)
    batches = small.stream(system)
    before = torch.get_rng_state()
    taken = [batches.take() for _ in range(2 * getattr(system.config, "d_steps", 1))]
    feed = iter(taken)
    with monkeypatch.context() as patch:
        for method in ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__"):
            patch.setattr(Tensor, method, read)
        steps = [system.step(lambda: next(feed), number / STEPS) for number in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(math.isfinite(value.item()) for step in steps for value in step.values())
    assert {value.dtype for step in steps for value in step.values()} == {torch.float32}
    weights = [weight for each in system.networks.values() for weight in each.parameters()]
    assert {weight.dtype for weight in weights} == {torch.float32}
    assert system.is_finite()


@every_choice
def test_every_layer_computes_in_bfloat16_what_it_does_in_float32(
    choice: Choice, small: Small
) -> None:
    system = start(small, choice, precision="bfloat16")
    errors = dict(layer_errors(system, small.stream(system).take))
    assert any("gradient" in place for place in errors)
    assert max(errors.values()) < LARGEST_ERROR

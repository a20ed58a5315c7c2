"""What every pair of networks must do, a plugin's too: whatever is registered is tested."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.config import parse
from harness.data import Batches, Facts, Part, kind_of
from harness.errors import HarnessError
from harness.randomness import seeded
from harness.systems import SYSTEMS
from harness.systems.architectures import ARCHITECTURES
from harness.systems.gan import GAN, GANConfig
from harness.systems.layers import ACTIVATIONS, NORMS, Dropout
from harness.systems.pairs import PairConfig, build_discriminator, build_generator

CPU = torch.device("cpu")
Shape = tuple[int, ...]
SHAPES: list[Shape] = [(1, 8, 8), (3, 12, 12), (1, 28, 28), (3, 32, 32), (1, 8, 12)]
FLAT: list[Shape] = [(1,), (2,), (5,)]
SMALL = (1, 16, 16)
LATENT_DIM = 6
PAIRED = [SYSTEMS[name] for name in SYSTEMS if issubclass(SYSTEMS[name].Config, PairConfig)]

pytestmark = pytest.mark.parametrize("name", list(ARCHITECTURES))


def config(name: str, **changes: Any) -> GANConfig:
    small = {"g_width": 4, "d_width": 4, "latent_dim": LATENT_DIM, "batch_size": 4}
    settings = {"architecture": name, "dataset": "digits", "budget": {"images": 12}}
    return parse(GANConfig, settings | small | changes, "test")


def fitting(name: str, shape: Shape, **changes: Any) -> GANConfig:
    """Return a config for a dataset of samples of this kind."""
    return config(name, dataset="ring" if len(shape) == 1 else "digits", **changes)


def pair(name: str, shape: Shape = SMALL, **changes: Any) -> tuple[nn.Module, nn.Module]:
    """Return a generator and a discriminator; skips where the pair refuses the shape."""
    settings, facts = fitting(name, shape, **changes), Facts(sample_shape=shape)
    try:
        settings.check(facts)
    except HarnessError as refused:
        pytest.skip(str(refused))
    with seeded(1):
        generator = build_generator(settings, facts)
        return generator, build_discriminator(settings, settings.framed_shape(facts))


def latents(num: int) -> Tensor:
    return torch.randn(num, LATENT_DIM, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [*SHAPES, *FLAT], ids=str)
def test_shapes_and_range(name: str, shape: Shape) -> None:
    generator, discriminator = pair(name, shape)
    framed = fitting(name, shape).framed_shape(Facts(sample_shape=shape))
    for num in (2, 5):
        images = generator.train()(latents(num) * 100)
        assert images.shape == (num, *framed)
        assert images.dtype == torch.float32
        assert images.abs().max() <= 1 or not kind_of(shape).bounded
        assert discriminator(images).shape == (num, 1)
        shown = generator.eval()(latents(num))
        assert shown.shape == (num, *shape)
        assert shown.std() > 0


@pytest.mark.parametrize("num_outputs", [2, 11])
def test_a_discriminator_gives_as_many_numbers_as_are_asked_for(
    name: str, num_outputs: int
) -> None:
    settings = config(name)
    shape = settings.framed_shape(Facts(sample_shape=SMALL))
    discriminator = build_discriminator(settings, shape, num_outputs)
    outputs = discriminator(torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)))
    assert outputs.shape == (3, num_outputs)
    assert (outputs.std(dim=1) > 0).all()


@pytest.mark.parametrize("kernel", range(2, 8))
def test_kernels_of_any_side_keep_the_shapes(name: str, kernel: int) -> None:
    generator, discriminator = pair(name, (1, 32, 32), g_kernel=kernel, d_kernel=kernel)
    images = generator(latents(3))
    assert images.shape == (3, 1, 32, 32)
    assert discriminator(images).shape == (3, 1)


def test_it_makes_some_of_the_usual_shapes(name: str) -> None:
    refused = 0
    for shape in SHAPES:
        try:
            config(name).check(Facts(sample_shape=shape))
        except HarnessError:
            refused += 1
    assert refused < len(SHAPES)


def test_points_are_made_without_bounds_or_refused_by_name(name: str) -> None:
    flat = Facts(sample_shape=(2,))
    settings = fitting(name, (2,))
    if not ARCHITECTURES[name].flat:
        with pytest.raises(HarnessError, match=f"architecture = '{name}': makes images, and ring"):
            settings.check(flat)
        return
    settings.check(flat)
    for key, value in (("g_output", "tanh"), ("pad_to", 16), ("augment", "flip"), ("g_kernel", 3),
                       ("d_attention", True), ("augment_reals", "color")):  # fmt: skip
        with pytest.raises(HarnessError, match=f"{key} = {value!r}") as refusal:
            fitting(name, (2,), **{key: value}).check(flat)
        assert "\n" not in str(refusal.value)
    with pytest.raises(HarnessError, match="g_output = 'linear': digits has images, whose"):
        config(name, g_output="linear").check(Facts(sample_shape=SMALL))


@pytest.mark.parametrize("norm", list(NORMS))
def test_every_weight_receives_a_gradient(name: str, norm: str) -> None:
    generator, discriminator = pair(name, g_norm=norm, d_norm=norm)
    discriminator(generator(latents(4))).square().sum().backward()
    for module in (generator, discriminator):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("chosen", list(ACTIVATIONS))
def test_every_activation_works(name: str, chosen: str) -> None:
    generator, discriminator = pair(name, g_activation=chosen, d_activation=chosen)
    assert discriminator(generator(latents(4))).isfinite().all()


def test_its_defaults_are_settings(name: str) -> None:
    pair = ARCHITECTURES[name]
    for system in PAIRED:
        generating, judging = system.Config.prefixes
        defaults = {f"{generating}{key}": value for key, value in pair.generator_defaults.items()}
        defaults |= {f"{judging}{key}": each for key, each in pair.discriminator_defaults.items()}
        defaults["pad_to"] = pair.pad_to
        assert defaults.keys() <= system.Config.model_fields.keys()
        silent = parse(system.Config, {"architecture": name}, "test").model_dump()
        assert {key: silent[key] for key in defaults} == defaults


def test_building_draws_from_the_run_alone(name: str) -> None:
    before = torch.get_rng_state()
    first, second = (pair(name, g_norm="batch", g_dropout=0.1) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(first, second, strict=True):
        weights = other.state_dict()
        assert all(torch.equal(value, weights[key]) for key, value in one.state_dict().items())


@pytest.mark.parametrize("norm", [norm for norm in NORMS if norm != "batch"])
def test_only_batch_norm_may_mix_samples(name: str, norm: str) -> None:
    _, discriminator = pair(name, d_norm=norm)
    shape = config(name).framed_shape(Facts(sample_shape=SMALL))
    images = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    discriminator.eval()
    alone = discriminator(images[:1])
    assert torch.allclose(discriminator(images)[:1], alone, rtol=1e-4, atol=1e-6)


def test_it_takes_some_norms_and_says_why_it_takes_no_others(name: str) -> None:
    refused = {}
    for norm in NORMS:
        try:
            config(name, g_norm=norm, d_norm=norm).check(Facts(sample_shape=SMALL))
        except HarnessError as error:
            refused[norm] = str(error)
    assert not {"none", "batch"} & set(refused)
    for norm, reason in refused.items():
        assert f"norm = {norm!r} with architecture = {name!r}: " in reason


def test_training_draws_from_its_own_streams(name: str) -> None:
    images = torch.randint(0, 256, (32, *SMALL), dtype=torch.uint8)
    part = Part(images=images, labels=None)
    system = GAN(config(name, g_dropout=0.2, d_dropout=0.2), Facts(sample_shape=SMALL), CPU)
    dropouts = [m for net in system.networks.values() for m in net.modules()
                if isinstance(m, Dropout)]  # fmt: skip
    assert all(each.generator is not None for each in dropouts)
    before = torch.get_rng_state()
    measured = system.step(Batches(part, 4, torch.Generator().manual_seed(0)).take, 0.0)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(value.isfinite() for value in measured.values())

"""The architecture with styles: what each part does, in training and in samples."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.config import parse
from harness.data import Batch, Facts, to_uint8
from harness.data.pictures import image_grid
from harness.errors import HarnessError
from harness.results.export import sample
from harness.study.presets import load_preset
from harness.systems import draw_inputs, generate, load_generator, save_generator
from harness.systems.architectures import ARCHITECTURES, STYLE_SETTINGS, GeneratorSettings
from harness.systems.architectures.stylegan import GRID_SIDE, Halved
from harness.systems.gan import GAN, GANConfig
from harness.systems.gan.penalties import PENALTIES
from harness.systems.styles import ModulatedConv, Noise, crossed, find_styles

Flat = Callable[..., dict[str, Any]]
Same = Callable[..., bool]

FACTS = Facts(sample_shape=(1, 8, 12), num_classes=3)
BATCH = 8
NUM_STYLES = 6
SMALL: dict[str, Any] = {
    "dataset": "digits",
    "architecture": "stylegan",
    "latent_dim": 5,
    "batch_size": BATCH,
    "g_width": 4,
    "d_width": 4,
}
FULL: dict[str, Any] = {
    "path_length": 2.0,
    "path_length_interval": 2,
    "penalty": "r1",
    "penalty_interval": 2,
    "d_minibatch_std": True,
    "average": 40,
}
# The full model without each part, or with one more.
PARTS: dict[str, dict[str, Any]] = {
    "full": {},
    "mapping": {"g_mapping": 0},
    "demodulation": {"g_demodulation": False},
    "noise": {"g_noise": False},
    "skip": {"g_skip": False},
    "mixing": {"mixing": 0.0},
    "path_length": {"path_length": 0.0},
    "average": {"average": 0},
    "minibatch_std": {"d_minibatch_std": False},
    "penalty": {"penalty": "none", "penalty_interval": 1},
    "classes": {"conditioning": "projection"},
}


def game(precision: str = "float32", facts: Facts = FACTS, **settings: Any) -> GAN:
    config = parse(GANConfig, SMALL | settings, "test")
    return GAN(config, facts, torch.device("cpu"), precision)  # type: ignore[arg-type]


def batch(seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(BATCH, *FACTS.sample_shape, generator=generator) * 2 - 1
    return Batch(images=images, labels=torch.randint(3, (BATCH,), generator=generator))


def played(gan: GAN, first: int = 0, times: int = 2) -> dict[str, Any]:
    for index in range(first, first + times):
        measures = gan.step(lambda index=index: batch(index), index / 10)
    return {"measures": measures, "state": copy.deepcopy(gan.state_dict())}


def latents(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, 5, generator=torch.Generator().manual_seed(seed))


def noisy(gan: GAN) -> GAN:
    """Return a GAN whose noise shows: it starts with a strength of 0."""
    with torch.no_grad():
        for name, weight in gan.generator.named_parameters():
            if name.endswith("strength"):
                weight.fill_(0.5)
    return gan


# --- every part ----------------------------------------------------------------------------------


@pytest.mark.parametrize("part", list(PARTS))
def test_it_goes_on_bit_for_bit_without_any_part(part: str, flat: Flat, same: Same) -> None:
    settings = FULL | PARTS[part]
    gan, resumed = game(**settings), game(**settings, seed=9)
    first = played(gan)
    assert ("path_length" in gan.buffers) == (part != "path_length")
    assert all(each.isfinite() for each in first["measures"].values())
    resumed.load_state_dict(first["state"])
    rest = [flat(played(each, first=2)) for each in (gan, resumed)]
    assert same(*rest)


def test_what_it_follows_is_saved_and_missed(flat: Flat, same: Same) -> None:
    gan = game(**FULL, g_psi=0.5)
    first = played(gan, times=3)
    expected = flat(played(gan, first=3))
    assert first["state"]["buffers"]["path_length"] > 0
    assert find_styles(gan.networks["average"]).mean.abs().min() > 0
    forgotten = copy.deepcopy(first["state"])
    forgotten["buffers"]["path_length"].zero_()
    resumed = game(**FULL, g_psi=0.5)
    resumed.load_state_dict(forgotten)
    assert not same(flat(played(resumed, first=3)), expected)


@pytest.mark.parametrize("part", list(PARTS))
def test_it_trains_in_bfloat16_without_any_part(part: str) -> None:
    gan = game("bfloat16", **FULL | PARTS[part])
    measures = played(gan)["measures"]
    assert all(each.isfinite() and each.dtype == torch.float32 for each in measures.values())
    assert gan.is_finite()


def test_steps_ignore_and_keep_the_global_state(flat: Flat, same: Same) -> None:
    results = []
    for seed in (1, 2):
        gan = game(**FULL)
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        results.append(flat(played(gan)))
        assert torch.equal(torch.get_rng_state(), before)
    assert same(*results)


def test_no_part_reads_a_tensor_back(monkeypatch: pytest.MonkeyPatch) -> None:
    gan, real = game(**FULL), batch(0)

    def read(self: Tensor, *_: Any) -> Any:
        raise AssertionError("a step read a tensor back to the host")

    with monkeypatch.context() as patch:
        for name in ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__"):
            patch.setattr(Tensor, name, read)
        gan.step(lambda: real, 0.0)


def test_the_preset_has_the_layers_that_it_announces() -> None:
    settings = load_preset("stylegan").for_one_run()
    config = parse(GANConfig, settings, "test")
    facts = Facts(sample_shape=(1, 28, 28))
    mapping = 4 * (64 * 64 + 64)
    start = 64 * 7 * 7
    # kernels, biases, a strength of noise, and what makes scales of a style
    layers = sum(
        given * made * 9 + made + 1 + 65 * given
        for given, made in [(64, 64), (64, 32), (32, 32), (32, 16), (16, 16)]
    )
    images = sum(given + 1 + 65 * given for given in (64, 32, 16))
    blocks = sum(
        (n * n * 9 + n) + (n * 2 * n * 16 + 2 * n) + n * 2 * n  # 3x3, 4x4, and beside them 1x1
        for n in (16, 32)
    )
    last = 65 * 64 * 9 + 64 + 64 * 49 * 64 + 64 + 65  # minibatch std is one map more
    assert GAN.num_parameters(config, facts) == {
        "generator": mapping + start + layers + images,
        "discriminator": (16 + 16) + blocks + last,
    }


# --- the generator -------------------------------------------------------------------------------


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("depth", [1, 2])
def test_every_style_moves_the_image(depth: int, skip: bool) -> None:
    gan = game(g_depth=depth, g_skip=skip)
    images = [each for each in gan.generator.modules() if type(each) is ModulatedConv]
    num_styles = 2 * depth + 2
    assert find_styles(gan.generator).num_styles == num_styles
    # Layers demodulate, what makes images does not.
    assert sum(each.demodulated for each in images) == 2 * depth + 1
    assert sum(not each.demodulated for each in images) == (depth + 1 if skip else 1)
    one = latents(2)[:, None].expand(-1, num_styles, -1)
    per_layer = one.clone().requires_grad_()
    gan.generator(per_layer).square().sum().backward()
    assert (per_layer.grad.abs().sum(dim=(0, 2)) > 0).all()


def test_latents_may_be_given_per_style() -> None:
    generator = game().generator.eval()
    first, second = latents(3), latents(3, seed=1)
    alone = generator(first)
    torch.testing.assert_close(generator(first[:, None].expand(-1, NUM_STYLES, -1)), alone)
    nowhere = torch.full((3,), NUM_STYLES)
    torch.testing.assert_close(generator(crossed(first, second, nowhere, NUM_STYLES)), alone)
    everywhere = torch.zeros_like(nowhere)
    torch.testing.assert_close(
        generator(crossed(first, second, everywhere, NUM_STYLES)), generator(second)
    )
    half = generator(crossed(first, second, nowhere // 2, NUM_STYLES))
    assert not torch.allclose(half, alone)


def test_without_noise_training_makes_the_same_image_twice() -> None:
    inputs = latents(3)
    quiet = game(g_noise=False).generator
    assert not [each for each in quiet.modules() if isinstance(each, Noise)]
    assert torch.equal(quiet(inputs), quiet(inputs))
    loud = noisy(game()).generator
    assert not torch.equal(loud(inputs), loud(inputs))
    assert torch.equal(loud.eval()(inputs), loud(inputs))


def test_mixing_draws_latents_of_its_own_per_style() -> None:
    assert game(mixing=0.0)._latents().shape == (BATCH, 5)
    drawn = game(mixing=1.0)._latents()
    assert drawn.shape == (BATCH, NUM_STYLES, 5)
    assert not torch.equal(drawn[:, 0], drawn[:, -1])
    unmixed = game(mixing=1e-9)._latents()
    assert torch.equal(unmixed, unmixed[:, :1].expand(-1, NUM_STYLES, -1))


def test_a_mixed_image_has_one_class() -> None:
    generator = game(conditioning="concatenation").generator.eval()
    classes = torch.tensor([0, 1, 2])
    expected = generator(latents(3), classes)
    per_style = latents(3)[:, None].expand(-1, NUM_STYLES, -1)
    torch.testing.assert_close(generator(per_style, classes), expected)
    assert not torch.allclose(generator(per_style, classes.flip(0)), expected)


# --- the discriminator ---------------------------------------------------------------------------


def test_a_halving_block_has_right_gradients_twice() -> None:
    settings = game(d_activation="silu").config.d_settings.model_copy(update={"width": 2})
    block = Halved(settings, 2).double()
    random = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 2, 4, 4, generator=random, dtype=torch.float64).requires_grad_()
    assert block(maps).shape == (2, 4, 2, 2)
    assert torch.autograd.gradcheck(block, (maps,))
    assert torch.autograd.gradgradcheck(block, (maps,))


@pytest.mark.parametrize("spread", [True, False])
def test_r1_reaches_every_matrix(spread: bool) -> None:
    gan = game(d_minibatch_std=spread)
    images = batch(0).images
    penalty = PENALTIES["r1"](gan.discriminator, images, images, torch.Generator())
    penalty.backward()
    for weight in gan.discriminator.parameters():
        if weight.dim() > 1:
            assert weight.grad.isfinite().all()
            assert weight.grad.abs().max() > 0


# --- samples -------------------------------------------------------------------------------------


def exported(folder: Path, **settings: Any) -> GAN:
    gan = noisy(game(**FULL, **settings))
    played(gan, times=3)
    save_generator(folder, gan.networks["average"].eval(), gan.config, FACTS)
    return gan


def test_an_export_has_its_noise_and_its_mean_style(tmp_path: Path) -> None:
    gan = exported(tmp_path, g_psi=0.7)
    loaded, spec = load_generator(tmp_path)
    inputs = spec.draw_inputs(4, seed=3)
    images = generate(loaded, inputs)
    assert torch.equal(images, generate(gan.networks["average"], inputs))
    noises = [each.constant for each in loaded.modules() if isinstance(each, Noise)]
    assert len(noises) == 5
    assert all(each.std() > 0 for each in noises)
    noises[-1].zero_()
    assert not torch.equal(images, generate(loaded, inputs))


def test_truncated_samples(tmp_path: Path) -> None:
    exported(tmp_path)
    plain = sample(tmp_path, 6, seed=1)
    assert torch.equal(sample(tmp_path, 6, seed=1, psi=1.0), plain)
    same = sample(tmp_path, 6, seed=1, psi=0.0)
    assert torch.equal(same, same[:1].expand_as(same))
    limited = sample(tmp_path, 6, seed=1, truncation=0.1)
    assert not torch.equal(limited, plain)
    half = sample(tmp_path, 6, seed=1, psi=0.5)
    assert not torch.equal(half, plain)
    assert half.float().std(dim=0).mean() < plain.float().std(dim=0).mean()


def test_psi_truncates_what_is_scored_and_nothing_that_is_trained(flat: Flat, same: Same) -> None:
    gans = [game(**FULL, g_psi=psi) for psi in (1.0, 0.5)]
    assert same(*(flat(played(gan)) for gan in gans))
    images = []
    for gan in gans:
        inputs = draw_inputs(gan.config, FACTS, 4, seed=0)
        images.append(generate(gan.networks["average"].eval(), inputs))
    assert not torch.equal(*images)


@pytest.mark.parametrize("conditioning", ["none", "projection"])
def test_the_picture_mixes_coarse_styles_of_the_left_with_fine_ones_of_the_top(
    conditioning: str,
) -> None:
    gan = noisy(game(**FULL, conditioning=conditioning))
    played(gan)
    for network in gan.networks.values():
        network.eval()
    real: Any = None
    assert gan.draw(real, final=False) == {}
    before = torch.get_rng_state()
    pictures = gan.draw(real, final=True)
    assert torch.equal(torch.get_rng_state(), before)
    assert pictures.keys() == type(gan).pictures(gan.config).keys() == {"styles"}
    generator = gan.networks["average"]
    drawn, *classes = draw_inputs(gan.config, FACTS, 2 * GRID_SIDE, seed=0)
    shown = [torch.full((1, *FACTS.sample_shape), 128, dtype=torch.uint8)]
    with torch.no_grad():
        sources = to_uint8(generator(drawn, *classes))
        shown.append(sources[GRID_SIDE:])
        for row in range(GRID_SIDE):
            shown.append(sources[row : row + 1])
            for column in range(GRID_SIDE, 2 * GRID_SIDE):
                per_style = [drawn[row]] * 3 + [drawn[column]] * 3
                told = [each[row : row + 1] for each in classes]
                shown.append(to_uint8(generator(torch.stack(per_style)[None], *told)))
    expected = image_grid(torch.cat(shown), GRID_SIDE + 1)
    difference = abs(pictures["styles"].astype(int) - expected.astype(int))
    assert difference.max() <= 1  # batches of other sizes add up in another order


# --- what is refused -----------------------------------------------------------------------------

GIVEN = {"mapping": 2, "demodulation": True, "noise": True, "skip": True, "psi": 0.5}
WITHOUT = [name for name in ARCHITECTURES if ARCHITECTURES[name].num_styles is None]


def test_settings_of_styles_are_settings() -> None:
    assert set(GIVEN) == set(STYLE_SETTINGS) <= set(GeneratorSettings.model_fields)


@pytest.mark.parametrize("key", STYLE_SETTINGS)
@pytest.mark.parametrize("name", WITHOUT)
def test_other_architectures_refuse_them(name: str, key: str) -> None:
    settings = {"dataset": "digits", "architecture": name, f"g_{key}": GIVEN[key]}
    config = parse(GANConfig, settings, "test")
    with pytest.raises(HarnessError) as caught:
        config.check(Facts(sample_shape=(1, 32, 32)))
    words = f"g_{key} = {GIVEN[key]!r} with architecture = {name!r}: it has no styles; use one of "
    assert str(caught.value).startswith(words)
    assert "stylegan" in str(caught.value)


@pytest.mark.parametrize(("key", "value"), [("mixing", 0.9), ("path_length", 2.0)])
@pytest.mark.parametrize("name", WITHOUT)
def test_other_architectures_refuse_knobs_of_styles(name: str, key: str, value: float) -> None:
    settings = {"dataset": "digits", "architecture": name, key: value}
    with pytest.raises(HarnessError, match=f"{key} = {value} .*'{name}': it has no styles"):
        parse(GANConfig, settings, "test")


def test_it_has_no_kernels_that_double() -> None:
    with pytest.raises(HarnessError, match="g_kernel = 3 with architecture = 'stylegan': "):
        game(g_kernel=3)
    assert isinstance(game(d_kernel=3).discriminator, nn.Module)

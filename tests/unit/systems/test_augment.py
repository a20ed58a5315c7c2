"""Transformations of images: values worked out by hand, gradients, and one draw per image."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.config import parse
from harness.errors import HarnessError
from harness.systems.gan import GAN, GANConfig, augment
from harness.systems.gan.augment import AUGMENTATIONS, needs_colour

NAMES = list(AUGMENTATIONS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator(1), dtype=torch.float64) * 2 - 1


def draw(monkeypatch: pytest.MonkeyPatch, *values: float) -> list[tuple[float, float]]:
    """Let the next draws be these for all images; return a list that grows by their bounds."""
    coming, bounds = iter(values), []

    def uniform(images: Tensor, low: float, high: float, _: torch.Generator) -> Tensor:
        bounds.append((low, high))
        return torch.full((len(images), 1, 1, 1), next(coming), dtype=images.dtype)

    monkeypatch.setattr(augment, "_uniform", uniform)
    return bounds


# --- what all have in common ----------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(5, 3, 8, 8), (2, 3, 4, 12), (1, 3, 9, 6)])
def test_shape_and_type_stay_and_inputs_are_not_changed(name: str, shape: tuple[int, ...]) -> None:
    for dtype in (torch.float32, torch.float64):
        images = some_images(*shape).to(dtype)
        before = images.clone()
        changed = AUGMENTATIONS[name](images, generator())
        assert changed.shape == images.shape
        assert changed.dtype == dtype
        assert torch.equal(images, before)


@pytest.mark.parametrize("name", NAMES)
def test_draws_from_the_given_generator_only(name: str) -> None:
    images = some_images(6, 3, 8, 8)
    before = torch.get_rng_state()
    one, again, other = (AUGMENTATIONS[name](images, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_every_image_is_changed_by_itself(name: str) -> None:
    images = some_images(6, 3, 8, 8)
    poisoned = images.clone()
    poisoned[2] = torch.nan
    clean = AUGMENTATIONS[name](images, generator())
    result = AUGMENTATIONS[name](poisoned, generator())
    others = torch.arange(6) != 2
    assert torch.equal(result[others], clean[others])
    assert result[2].isnan().any()


@pytest.mark.parametrize("name", NAMES)
def test_equal_images_are_changed_differently(name: str) -> None:
    images = some_images(1, 3, 8, 8).expand(20, -1, -1, -1)
    changed = AUGMENTATIONS[name](images, generator())
    assert len(changed.flatten(1).unique(dim=0)) > 1


@pytest.mark.parametrize("name", NAMES)
def test_gradients_equal_finite_differences(name: str) -> None:
    images = some_images(3, 3, 4, 5).requires_grad_(True)
    assert torch.autograd.gradcheck(
        lambda each: AUGMENTATIONS[name](each, generator(5)), images, fast_mode=True
    )


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_the_transformations_transpose(name: str) -> None:
    """For T(x) = A x + b: <A x, y> = <x, Aᵀ y>, where Aᵀ y is the gradient of <T(x), y>."""
    images = some_images(7, 3, 6, 8).requires_grad_(True)
    toward = torch.randn(images.shape, generator=generator(2), dtype=torch.float64)
    changed = AUGMENTATIONS[name](images, generator(5))
    constant = AUGMENTATIONS[name](torch.zeros_like(images), generator(5))
    (transposed,) = torch.autograd.grad((changed * toward).sum(), images)
    left, right = ((changed - constant) * toward).sum(), (images * transposed).sum()
    assert left.item() == pytest.approx(right.item(), rel=1e-12)
    assert transposed.abs().sum() > 0


@pytest.mark.parametrize("name", ["translation", "flip", "rotation", "crop"])
def test_black_images_stay_black(name: str) -> None:
    black = torch.full((20, 1, 8, 8), -1.0)
    assert torch.equal(AUGMENTATIONS[name](black, generator()), black)


# --- one by one -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width", "down", "right"), [(8, 8, 1, 1), (4, 16, 1, 2)])
def test_translation_shifts_evenly_by_up_to_an_eighth(
    height: int, width: int, down: int, right: int
) -> None:
    num = 3000
    image = some_images(1, 2, height, width)
    # What lies at (row, column) comes from (row - by_rows, column - by_columns), else is black.
    expected = {}
    for by_rows in range(-down, down + 1):
        for by_columns in range(-right, right + 1):
            shifted = torch.full_like(image[0], -1.0)
            for row in range(height):
                for column in range(width):
                    source = row - by_rows, column - by_columns
                    if 0 <= source[0] < height and 0 <= source[1] < width:
                        shifted[:, row, column] = image[0, :, source[0], source[1]]
            expected[by_rows, by_columns] = shifted
    moved = AUGMENTATIONS["translation"](image.expand(num, -1, -1, -1), generator())
    matches = torch.stack([(moved == each).flatten(1).all(1) for each in expected.values()])
    assert (matches.sum(0) == 1).all()
    shares = matches.double().mean(1)
    even = 1 / len(expected)
    assert (shares - even).abs().max() < 5 * math.sqrt(even / num)  # five standard errors


@pytest.mark.parametrize(
    ("side", "spans"),
    [
        # Squares of 2: over a border as often on the left as on the right.
        (4, [(0,), (0, 1), (1, 2), (2, 3), (3,)]),
        (6, [(0, 1), (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (4, 5)]),  # squares of 3
    ],
)
def test_cutout_greys_a_square_of_half_the_side(side: int, spans: list[tuple[int, ...]]) -> None:
    num = 3000
    cut = AUGMENTATIONS["cutout"](torch.ones(num, 2, side, side), generator())
    assert torch.equal(cut[:, 0], cut[:, 1])
    assert set(cut.unique().tolist()) == {0.0, 1.0}
    hidden = cut[:, 0] == 0
    for axis in (1, 2):
        across = hidden.any(dim=axis)
        found = Counter(tuple(each.nonzero().flatten().tolist()) for each in across)
        assert set(found) == set(spans)
        even = num / len(spans)
        assert all(abs(count - even) < 5 * math.sqrt(even) for count in found.values())
    rectangles = hidden.any(1)[:, None, :] & hidden.any(2)[:, :, None]
    assert torch.equal(hidden, rectangles)


def test_cutout_leaves_all_else_as_it_is() -> None:
    images = some_images(50, 1, 4, 12)
    cut = AUGMENTATIONS["cutout"](images, generator())
    hidden = cut == 0
    assert torch.equal(cut[~hidden], images[~hidden])
    assert hidden.flatten(1).sum(1).max() == 2 * 6
    assert hidden.flatten(1).sum(1).min() == 1 * 3  # a quarter of it, in a corner


def test_color_worked_out_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = draw(monkeypatch, 0.25, 0.5, 1.5)
    images = torch.tensor([[0.0, 0.25], [0.5, 0.25], [0.25, 0.25]]).view(1, 3, 1, 2)
    changed = AUGMENTATIONS["color"](images, generator())
    # Brighter by 0.25: (0.25, 0.75, 0.5) and three times 0.5. Means over channels: 0.5 and 0.5.
    # Half as colourful: (0.375, 0.625, 0.5) and 0.5s. Mean of all: 0.5; one and a half times away.
    expected = torch.tensor([[0.3125, 0.5], [0.6875, 0.5], [0.5, 0.5]]).view(1, 3, 1, 2)
    torch.testing.assert_close(changed, expected)
    assert bounds == [(-0.5, 0.5), (0, 2), (0.5, 1.5)]  # Zhao et al. 2020


def test_flip_mirrors_every_second_image() -> None:
    num = 2000
    image = some_images(1, 1, 2, 6)
    flipped = AUGMENTATIONS["flip"](image.expand(num, -1, -1, -1), generator())
    mirror = image[0, :, :, [5, 4, 3, 2, 1, 0]]
    mirrored = (flipped == mirror).flatten(1).all(1)
    kept = (flipped == image[0]).flatten(1).all(1)
    assert (mirrored ^ kept).all()
    assert abs(mirrored.double().mean().item() - 0.5) < 5 * 0.5 / math.sqrt(num)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_rotation_by_right_angles(monkeypatch: pytest.MonkeyPatch, quarters: int) -> None:
    images = some_images(2, 1, 5, 5)
    bounds = draw(monkeypatch, quarters * math.pi / 2)
    turned = AUGMENTATIONS["rotation"](images, generator())
    torch.testing.assert_close(turned, torch.rot90(images, quarters, (2, 3)))
    assert bounds == [(-math.pi / 12, math.pi / 12)]


def test_rotation_keeps_angles_where_sides_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    images = some_images(2, 3, 4, 10)
    draw(monkeypatch, math.pi / 2)
    turned = AUGMENTATIONS["rotation"](images, generator())
    # The middle turns in itself; beside it lies what was above and below the image.
    middle = slice(3, 7)
    torch.testing.assert_close(turned[..., middle], torch.rot90(images[..., middle], 1, (2, 3)))
    assert turned[..., :3].eq(-1).all()
    assert turned[..., 7:].eq(-1).all()


def test_rotation_darkens_corners_only(monkeypatch: pytest.MonkeyPatch) -> None:
    draw(monkeypatch, math.pi / 12)
    turned = AUGMENTATIONS["rotation"](torch.ones(1, 1, 16, 16), generator())[0, 0]
    assert turned[0, 0] < 0
    distance = ((torch.arange(16) - 7.5) ** 2)[:, None] + ((torch.arange(16) - 7.5) ** 2)
    torch.testing.assert_close(
        turned[distance <= 7.4**2], torch.ones(int((distance <= 7.4**2).sum()))
    )


def test_crop_worked_out_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    # Half of the side, from as far right and up as there is: pixels 2 and 3 of the first row.
    draw(monkeypatch, 0.5, 1.0, -1.0)
    row = [0.0, 0.4, -0.4, 0.8]
    images = torch.tensor([row, row, [9.0] * 4, [9.0] * 4]).view(1, 1, 4, 4)
    cropped = AUGMENTATIONS["crop"](images, generator())
    # Places 1.75, 2.25, 2.75 and 3.25 of the row, the last one beyond the last pixel's middle.
    expected = [0.25 * 0.4 + 0.75 * -0.4, 0.75 * -0.4 + 0.25 * 0.8, 0.25 * -0.4 + 0.75 * 0.8, 0.8]
    torch.testing.assert_close(cropped[0, 0, :2], torch.tensor([expected, expected]))


def test_crop_of_the_whole_is_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = draw(monkeypatch, 1.0, 0.7, -0.3)
    images = some_images(2, 1, 4, 6)
    torch.testing.assert_close(AUGMENTATIONS["crop"](images, generator()), images)
    assert bounds == [(0.8, 1), (-1, 1), (-1, 1)]


@pytest.mark.parametrize("shape", [(8, 8), (4, 12)])
def test_crop_shows_nothing_from_beyond_the_border(shape: tuple[int, int]) -> None:
    white = torch.ones(200, 1, *shape)
    torch.testing.assert_close(AUGMENTATIONS["crop"](white, generator()), white)


def test_crop_shows_at_least_four_fifths() -> None:
    slope = torch.linspace(-1, 1, 20, dtype=torch.float64).expand(500, 1, 20, 20)
    cropped = AUGMENTATIONS["crop"](slope, generator())
    shown = (cropped[:, 0, 0, -2] - cropped[:, 0, 0, 1]) / (slope[0, 0, 0, -2] - slope[0, 0, 0, 1])
    assert 0.8 - 1e-6 <= shown.min() < 0.81
    assert 0.99 < shown.max() <= 1 + 1e-6


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["augment", "augment_reals"])
@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("flipp", "did you mean 'flip'"),
        ("flip+none", "'none'"),
        ("flip+", "''"),
        ("", "''"),
        ("flip + crop", "'flip '"),
        ("flip+crop+flip", "a transformation is listed twice"),
    ],
)
def test_bad_names_are_refused(key: str, value: str, complaint: str) -> None:
    with pytest.raises(HarnessError, match=f"{key} = .*{complaint}"):
        parse(GANConfig, {key: value}, "test")


@pytest.mark.parametrize("key", ["augment", "augment_reals"])
def test_colour_needs_colours(key: str, small_gan: Callable[..., GAN]) -> None:
    settings: dict[str, Any] = {key: "flip+color"}
    with pytest.raises(HarnessError, match=f"{key} = 'flip.color': digits has no colour"):
        small_gan(GAN, **settings)
    assert not needs_colour("flip")

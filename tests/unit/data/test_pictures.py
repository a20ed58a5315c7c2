"""Sample grids: every pixel of every image, enlarged by whole factors."""

from __future__ import annotations

import io
import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor

from harness.data.pictures import MIN_GRID_PIXELS, class_grid, image_grid, png, stacked_grid

PADDING = 2


def noise(num: int, channels: int = 1, height: int = 8, width: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (num, channels, height, width)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def cells(grid: npt.NDArray[np.uint8], images: Tensor, columns: int) -> tuple[list[Tensor], int]:
    """Cut a grid into its enlarged images (C, H, W); the factor is read off its width."""
    height, width = images.shape[2:]
    factor, rest = divmod(grid.shape[1] - PADDING - PADDING * columns, columns * width)
    assert rest == 0
    cut = []
    for index in range(len(images)):
        row, column = divmod(index, columns)
        top = PADDING + row * (factor * height + PADDING)
        left = PADDING + column * (factor * width + PADDING)
        part = grid[top : top + factor * height, left : left + factor * width]
        cut.append(torch.from_numpy(part.copy()).permute(2, 0, 1))
    return cut, factor


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("num", "columns", "height", "width"),
    [(9, 3, 8, 8), (7, 3, 8, 8), (4, 4, 28, 28), (6, 2, 8, 12), (5, 3, 300, 300), (25, 5, 32, 32)],
)
def test_every_pixel_is_a_block_of_its_own_colour(
    channels: int, num: int, columns: int, height: int, width: int
) -> None:
    images = noise(num, channels, height, width)
    grid = image_grid(images, columns)
    assert grid.dtype == np.uint8
    cut, factor = cells(grid, images, columns)
    assert factor == max(1, MIN_GRID_PIXELS // (columns * width))
    rows = math.ceil(num / columns)
    assert grid.shape == (
        rows * (factor * height + PADDING) + PADDING,
        columns * (factor * width + PADDING) + PADDING,
        3,
    )
    for image, enlarged in zip(images, cut, strict=True):
        blocks = image.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        assert torch.equal(enlarged, blocks.expand(3, -1, -1))


def test_the_grid_is_square_where_nothing_else_is_asked() -> None:
    for num, columns in [(9, 3), (16, 4), (10, 4), (64, 8)]:
        images = noise(num)
        cut, _ = cells(image_grid(images), images, columns)
        assert len(cut) == num


def test_one_image() -> None:
    grid = image_grid(noise(1))
    assert grid.shape == (MIN_GRID_PIXELS, MIN_GRID_PIXELS, 3)


def test_gaps_are_grey() -> None:
    grid = image_grid(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), columns=2)
    assert set(np.unique(grid).tolist()) == {0, 128}
    assert (grid[:PADDING] == 128).all()
    assert (grid[-20:, -20:] == 128).all()  # the fourth place is empty


def test_more_channels_than_a_picture_has_show_the_first() -> None:
    images = noise(4, channels=2)
    assert np.array_equal(image_grid(images), image_grid(images[:, :1]))


def test_images_are_left_as_they_were() -> None:
    images = noise(4)
    before = images.clone()
    image_grid(images)
    assert torch.equal(images, before)


def test_png_loses_nothing() -> None:
    grid = image_grid(noise(4, channels=3))
    buffer = io.BytesIO()
    png(grid).save(buffer, format="png")
    buffer.seek(0)
    assert np.array_equal(np.asarray(Image.open(buffer)), grid)


def test_the_row_of_a_class_without_images_is_blank() -> None:
    images = noise(3)
    classes = torch.tensor([0, 2, 2])
    cut, factor = cells(class_grid(images, classes, 4, 2), noise(8), columns=2)
    shown = {0: images[0], 4: images[1], 5: images[2]}
    for number, cell in enumerate(cut):
        if number in shown:
            assert torch.equal(cell[:1, ::factor, ::factor], shown[number])
        else:
            assert cell.unique().tolist() == [128]


def test_what_belongs_to_an_image_lies_below_it() -> None:
    kinds = [noise(5), 255 - noise(5), noise(5, channels=3)]
    cut, factor = cells(stacked_grid(*kinds), noise(24, channels=3), columns=4)
    for number in range(5):
        block, column = divmod(number, 4)
        for row, kind in enumerate(kinds):
            shown = cut[4 * (3 * block + row) + column][:, ::factor, ::factor]
            assert torch.equal(shown, kind[number].expand(3, -1, -1))
    for number in (13, 14, 15, 17, 18, 19, 21, 22, 23):  # what the last block lacks
        assert cut[number].unique().tolist() == [128]

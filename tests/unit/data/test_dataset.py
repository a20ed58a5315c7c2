"""What a dataset is: its digest, parts that keep images and labels together, and pixel ranges."""

from __future__ import annotations

import pytest
import torch

from harness.data import Dataset, Part, to_uint8, to_unit_range


def test_digest_sees_pixels_labels_and_the_split() -> None:
    part = Part(images=torch.zeros(4, 1, 2, 2, dtype=torch.uint8), labels=torch.arange(4))

    def digest(train: Part, validation: Part = part) -> str:
        return Dataset(name="", source="", train=train, validation=validation, test=part).digest

    other_pixels = Part(images=part.images + 1, labels=part.labels)
    other_labels = Part(images=part.images, labels=torch.arange(1, 5))
    digests = [
        digest(part),
        digest(other_pixels),
        digest(part, other_pixels),
        digest(other_labels),
        digest(Part(images=part.images.view(4, 1, 4, 1), labels=part.labels)),
    ]
    assert len(set(digests)) == len(digests)
    assert len(digests[0]) == 16


def test_take_keeps_images_and_labels_together() -> None:
    images = torch.arange(8, dtype=torch.uint8).view(8, 1, 1, 1)
    taken = Part(images=images, labels=7 * torch.arange(8)).take(torch.tensor([5, 2]))
    assert taken.labels is not None
    assert taken.images.flatten().tolist() == [5, 2]
    assert taken.labels.tolist() == [35, 14]


def test_pixels_survive_the_round_trip_exactly() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    unit = to_unit_range(pixels)
    assert unit.dtype == torch.float32
    assert unit.min().item() == -1
    assert unit.max().item() == 1
    # The middle of the range: 2 * 51 / 255 - 1 = -0.6
    assert unit.flatten()[51].item() == pytest.approx(-0.6, abs=1e-6)
    assert torch.equal(to_uint8(unit), pixels)
    assert torch.equal(pixels, torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16))


def test_to_uint8_rounds_and_clamps() -> None:
    # (x + 1) * 127.5: 0.0 -> 127.5, -0.999 -> 0.1275, 0.997 -> 254.6, 0.0079 -> 128.5+
    values = torch.tensor([-5.0, -1.0, -0.999, 0.997, 1.0, 1.3, 0.01])
    assert to_uint8(values).tolist() == [0, 0, 0, 255, 255, 255, 129]
    assert values.tolist()[0] == -5.0  # the input is untouched


def test_to_uint8_never_rescales() -> None:
    faint = torch.full((2, 1, 2, 2), -0.2)
    faint[0, 0, 0, 0] = 0.2
    assert to_uint8(faint)[0].unique().tolist() == [102, 153]  # 0.8 * 127.5, 1.2 * 127.5
    assert torch.equal(to_uint8(faint)[1:], to_uint8(faint[1:]))

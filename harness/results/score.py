"""Scoring images that somebody else made, by the protocol that runs are scored by."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.data import Dataset, Split, load_dataset, load_images
from harness.errors import HarnessError
from harness.evaluate import EvaluateConfig, Evaluator, count_samples
from harness.evaluate.evaluator import MIN_SAMPLES
from harness.evaluate.metric import FLOOR, Figure, figure_of
from harness.records.workspace import Workspace

DRAW_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Line:
    """One figure.

    Attributes:
        key: Its full name.
        figure: What it is called, and which values are best.
        value: Of the images.
        floor: Of real images; None where there is no such value.
        floor_sd: The standard deviation of that over draws.
    """

    key: str
    figure: Figure
    value: float
    floor: float | None
    floor_sd: float | None


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What images score.

    Attributes:
        noun: What they are called, in the plural.
        protocol: Ruler and number of images, as in metric keys.
        num_images: How many were scored.
        num_given: How many there were.
        lines: The figures.
    """

    noun: str
    protocol: str
    num_images: int
    num_given: int
    lines: tuple[Line, ...]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "protocol": self.protocol,
            "images": self.num_images,
            "given": self.num_given,
            "scores": {line.key: line.value for line in self.lines},
            "floors": {line.key: line.floor for line in self.lines if line.floor is not None},
        }


def score_images(
    place: Path,
    dataset_name: str,
    workspace: Workspace,
    *,
    split: Split = "test",
    ruler: str | None = None,
    samples: int | None = None,
    image_size: int | None = None,
    device: str = "cpu",
) -> Scored:
    """Score a file's or folder's images against a dataset.

    Args:
        place: `.npz` with (N, C, H, W) uint8 under `images`, or a folder of images; of points
            `.npz` with (N, d) float32 under `points`.
        dataset_name: What they are compared with.
        workspace: Where data and caches are.
        split: The part of it.
        ruler: Feature extractor; None: the dataset's own.
        samples: How many are scored, drawn with a fixed seed; None: as many as there are, at most
            what runs are scored with.
        image_size: Side that the dataset's images are resized to.
        device: Where features are computed.

    Raises:
        HarnessError: The images or the protocol are impossible; says what is allowed.
    """
    dataset = load_dataset(dataset_name, workspace.data_dir, image_size)
    images = _read(place, dataset)
    usual = count_samples(dataset, EvaluateConfig())
    number = min(len(images), usual) if samples is None else samples
    if not MIN_SAMPLES <= number <= len(images):
        raise HarnessError(
            f"{place} has {len(images)} {dataset.kind.noun}, of which {number} are to be scored; "
            f"allowed is {MIN_SAMPLES} or more of them"
        )
    config = EvaluateConfig(extractor=ruler, samples=number)
    evaluator = Evaluator(dataset, config, cache_dir=workspace.cache, device=torch.device(device))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(DRAW_SEED))
    scores = evaluator.score(images[order[:number].sort().values], split)
    floors = evaluator.floor(split)
    lines = []
    for key, value in scores.items():
        figure = figure_of(key)
        name = evaluator.key(split, f"{figure.name}{FLOOR}")
        spread = evaluator.key(split, f"{figure.name}{FLOOR}_sd")
        lines.append(
            Line(
                key=key,
                figure=figure,
                value=value,
                floor=floors.get(name),
                floor_sd=floors.get(spread),
            )
        )
    return Scored(
        noun=dataset.kind.noun,
        protocol=evaluator.protocol,
        num_images=number,
        num_given=len(images),
        lines=tuple(lines),
    )


def _read(place: Path, dataset: Dataset) -> Tensor:
    """Return the samples, shaped and stored as the dataset's are."""
    kind, shape = dataset.kind, dataset.sample_shape
    if place.is_dir():
        return _read_folder(place, dataset)
    if place.suffix != ".npz":
        folder = "a folder of images, or " * kind.has_pixels
        raise HarnessError(f"{place}: must be {folder}a .npz file with `{kind.noun}`")
    try:
        file = np.load(place, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("a single array")
        with file:
            if kind.noun not in file:
                raise HarnessError(
                    f"{place}: has no array `{kind.noun}`, only {', '.join(file) or 'none'}"
                )
            array = file[kind.noun]
    except FileNotFoundError:
        raise HarnessError(f"{place} does not exist") from None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error):
        raise HarnessError(f"{place} is no .npz file of plain arrays") from None
    if array.dtype != kind.type_name or array.shape[1:] != shape:
        raise HarnessError(
            f"{place}: `{kind.noun}` is {array.dtype} of shape {array.shape}; allowed is "
            f"{kind.type_name} of shape (N, {', '.join(map(str, shape))}) for dataset "
            f"{dataset.name!r}"
        )
    if not np.isfinite(array).all():
        raise HarnessError(f"{place}: `{kind.noun}` has values that are not finite")
    return torch.from_numpy(array)


def _read_folder(place: Path, dataset: Dataset) -> Tensor:
    """Return a folder's images."""
    if not dataset.kind.has_pixels:
        noun = dataset.kind.noun
        raise HarnessError(
            f"{place}: is a folder, and dataset {dataset.name!r} has {noun}; give a .npz file with "
            f"`{noun}`"
        )
    channels, height, width = dataset.sample_shape
    if height != width:
        raise HarnessError(f"{place}: images of a folder are square, the data are {height}x{width}")
    images = load_images(place, height)[0]
    return images.float().mean(1, keepdim=True).round().byte() if channels == 1 else images

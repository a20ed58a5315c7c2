"""Scoring images that somebody else made, by the protocol that runs are scored by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.data import Split, load_dataset
from harness.data.given import read_samples
from harness.errors import HarnessError
from harness.evaluate import EvaluateConfig, Evaluator, count_samples
from harness.evaluate.metric import FLOOR, Figure, figure_of
from harness.evaluate.subsets import MIN_SAMPLES
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
    data = load_dataset(dataset_name, workspace.data_dir, image_size, workspace.cache)
    dataset, source = data.target, data.counterpart
    images = read_samples(place, dataset.sample_shape, f"dataset {dataset.name!r}")
    usual = count_samples(dataset, EvaluateConfig(), source)
    number = min(len(images), usual) if samples is None else samples
    if not MIN_SAMPLES <= number <= len(images):
        raise HarnessError(
            f"{place} has {len(images)} {dataset.kind.noun}, of which {number} are to be scored; "
            f"allowed is {MIN_SAMPLES} or more of them"
        )
    config = EvaluateConfig(extractor=ruler, samples=number)
    evaluator = Evaluator(
        dataset,
        config,
        cache_dir=workspace.cache,
        device=torch.device(device),
        source=source,
    )
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

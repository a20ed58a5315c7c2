"""Points of known density: nothing to download, and every answer can be checked.

To add such a dataset, decorate a function that returns its density with `@points`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

from harness.data.dataset import Dataset, Part, Split
from harness.data.density import Mixture
from harness.data.kinds import IMAGES, POINTS, Kind
from harness.data.loaders import DATASETS
from harness.data.split import SPLIT_SEED
from harness.errors import HarnessError
from harness.randomness import derive_seed
from harness.registry import first_line

SIZES: dict[Split, int] = {"train": 20_000, "validation": 4_000, "test": 4_000}
DENSITIES: dict[str, Mixture] = {}
"""What points are drawn from, by the dataset's name."""


def points(make: Callable[[], Mixture]) -> Callable[[], Mixture]:
    """Register the dataset of points that a density gives, under the function's name."""
    name, density = make.__name__, make()

    def load(data_dir: Path, image_size: int | None = None) -> Dataset:
        if image_size is not None:
            raise HarnessError(
                f"image_size = {image_size}: dataset {name!r} has points, which have no sides; "
                "leave it out"
            )
        return Dataset(
            name=name,
            source=f"drawn with a fixed seed: {first_line(make)}",
            train=_part(name, density, "train"),
            validation=_part(name, density, "validation"),
            test=_part(name, density, "test"),
            density=density,
        )

    DATASETS.add(name, load, first_line(make))
    DENSITIES[name] = density
    return make


def _part(name: str, density: Mixture, split: Split) -> Part:
    """Return a split's points, labelled by their modes where there are several."""
    drawn, modes = density.draw(SIZES[split], derive_seed(SPLIT_SEED, name, split))
    return Part(images=drawn, labels=modes if density.num_modes > 1 else None)


def kind_named(dataset: object) -> Kind:
    """Return the kind of a dataset's samples by its name; nothing is loaded."""
    return POINTS if isinstance(dataset, str) and dataset in DENSITIES else IMAGES


@points
def gaussian() -> Mixture:
    """N(0, 1) on a line: 20,000 + 4,000 + 4,000 points."""
    return Mixture(means=((0.0,),), sd=1.0)


@points
def ring() -> Mixture:
    """Eight Gaussians of sd 0.02 on a circle of radius 2 (Metz et al. 2017): as many points."""
    angles = [math.tau * place / 8 for place in range(8)]
    means = tuple((2 * math.cos(angle), 2 * math.sin(angle)) for angle in angles)
    return Mixture(means=means, sd=0.02)


@points
def grid() -> Mixture:
    """25 Gaussians of sd 0.05 on a grid of step 2 (Srivastava et al. 2017): as many points."""
    steps = (-4.0, -2.0, 0.0, 2.0, 4.0)
    return Mixture(means=tuple(itertools.product(steps, steps)), sd=0.05)

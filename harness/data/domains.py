"""Two datasets as the two domains of one, unpaired whatever they are made of."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from harness.data.changes import CHANGES, check_images
from harness.data.dataset import DOMAIN_SEPARATOR, Dataset, Part
from harness.errors import HarnessError
from harness.randomness import derive_seed

HALVES_SEED = 20_170_330  # one division for everyone, whatever the run's seed


def domain_names(names: str) -> tuple[str, str]:
    """Return the two names of `A|B`; raises ValueError for anything else."""
    source, _, target = names.partition(DOMAIN_SEPARATOR)
    if not source or not target or DOMAIN_SEPARATOR in target:
        raise ValueError(
            f"dataset 'pairs:{names}': must be 'pairs:A{DOMAIN_SEPARATOR}B' with two datasets"
        )
    return source, target


def paired(name: str, source: Dataset, target: Dataset) -> Dataset:
    """Return the target with the source as its counterpart.

    Nothing may tell which image belongs to which. So domains that are made of the same images, such
    as `digits|inverted:digits`, share none: each of the three parts is divided at random, always in
    the same way, and the source has one half and the target the other. The held-out parts too,
    since a perfect translation of the very images that it is compared with would score below the
    floor.

    Raises:
        HarnessError: Images of the two are not of one height and width, or one has none.
    """
    check_images(name, source, target)
    sizes = {each.sample_shape[1:] for each in (source, target)}
    if len(sizes) > 1:
        listed = " and ".join(
            f"{each.name!r} has {'x'.join(map(str, each.sample_shape[1:]))} pixels"
            for each in (source, target)
        )
        raise HarnessError(f"dataset {name!r}: {listed}; set image_size to make them equal")
    if root(source.name) == root(target.name):
        source, target = _half(source, 0), _half(target, 1)
    return dataclasses.replace(
        target,
        name=name,
        source=f"{source.source} to {target.source}",
        train=dataclasses.replace(target.train, counterpart=source.train),
        validation=dataclasses.replace(target.validation, counterpart=source.validation),
        test=dataclasses.replace(target.test, counterpart=source.test),
        counterpart=source,
    )


def root(name: str) -> str:
    """Return the name of what a dataset is made of: `inverted:digits` -> `digits`."""
    kind, _, rest = name.partition(":")
    if kind == "folder":
        return str(Path(rest).expanduser().resolve())
    return root(rest) if kind in CHANGES else name


def _half(dataset: Dataset, which: int) -> Dataset:
    """Return a dataset with one of the two halves of every part."""

    def half(part: Part, split: str) -> Part:
        generator = torch.Generator().manual_seed(derive_seed(HALVES_SEED, "halves", split))
        order = torch.randperm(len(part), generator=generator)
        return part.take(order.tensor_split(2)[which].sort().values)

    return dataclasses.replace(
        dataset,
        train=half(dataset.train, "train"),
        validation=half(dataset.validation, "validation"),
        test=half(dataset.test, "test"),
    )

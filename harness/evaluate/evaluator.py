"""The Evaluator: one protocol per study, from images to named scores."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from harness.data import Dataset, Split
from harness.errors import HarnessError, unknown_name
from harness.evaluate import EvaluateConfig
from harness.evaluate.features import Extractor
from harness.evaluate.files import read_features, write_features
from harness.evaluate.inception import inception
from harness.evaluate.metric import FLOOR, METRICS, Compared, metric_of, objective_figure
from harness.evaluate.ruler import SHIPPED, shipped_ruler, trained_ruler
from harness.randomness import derive_seed

SUBSET_SEED = 0  # the same real images for every run of every study
MIN_SAMPLES = 16
MAX_DEFAULT_SAMPLES = 10_000


class Evaluator:
    """Scores samples against one dataset under one protocol: extractor, number of samples, split.

    Where fewer real images are compared than a split has, they are a fixed random subset of it,
    never its head: the published order of a split is rarely random.

    Args:
        dataset: What samples are compared with, on the CPU.
        config: The study's `[evaluate]` table.
        cache_dir: Where trained rulers and real features are kept.
        device: Where features are computed.

    Attributes:
        num_samples: n, generated and real.
        protocol: Extractor and n as in metric keys, e.g. `mnist_cnn_v1_10k`.
        objective: The figure that runs are ranked by.

    Raises:
        HarnessError: The protocol is impossible on this dataset; the message says why.
    """

    def __init__(
        self, dataset: Dataset, config: EvaluateConfig, *, cache_dir: Path, device: torch.device
    ) -> None:
        self.objective = objective_figure(config.objective)
        self._dataset = dataset
        self._cache_dir = cache_dir
        self.num_samples = _num_samples(dataset, config)
        self._extractor = _extractor(dataset, config, cache_dir, device)
        self.protocol = f"{self._extractor.name}_{_short(self.num_samples)}"
        self._config = config
        self._real_features: dict[Split, Tensor] = {}

    def key(self, split: Split, figure: str) -> str:
        """Return a figure's full name, e.g. `val/fid_mnist_cnn_v1_10k`."""
        prefix = "val" if split == "validation" else split
        own = metric_of(figure).protocol(self._config)
        return "_".join(filter(None, (f"{prefix}/{figure}", self.protocol, own)))

    def score(self, fake_images: Tensor, split: Split) -> dict[str, float]:
        """Return every registered metric's figures of samples against a split, by key.

        Args:
            fake_images: (num_samples, C, H, W) uint8 on any device.
            split: The real images to compare with.

        Raises:
            ValueError: Wrong number, shape or type of images, or features that are not finite.
        """
        expected = (self.num_samples, *self._dataset.sample_shape)
        if fake_images.shape != expected or fake_images.dtype != torch.uint8:
            raise ValueError(
                f"expected {expected} uint8 images, got {tuple(fake_images.shape)} "
                f"{fake_images.dtype}"
            )
        compared = Compared(
            real=self._real(split), fake=self._extractor(fake_images), config=self._config
        )
        return {
            self.key(split, figure): value
            for name in METRICS
            for figure, value in METRICS[name].compute(compared).items()
        }

    def floor(self, split: Split) -> dict[str, float]:
        """Return what real training images score against a split, as a perfect model would.

        The training images are as many as the samples, a fixed random subset; `num_samples` never
        exceeds the training part, since the constructor refuses that.
        """
        compared = Compared(real=self._real(split), fake=self._real("train"), config=self._config)
        return {
            self.key(split, f"{figure}{FLOOR}"): value
            for name in METRICS
            if METRICS[name].has_floor
            for figure, value in METRICS[name].compute(compared).items()
        }

    def describe(self) -> dict[str, str]:
        """Return the protocol's facts for the record."""
        facts = {
            "extractor": self._extractor.name,
            "extractor_sha256": self._extractor.sha256[:16],
            "num_features": str(self._extractor.num_features),
            "samples": str(self.num_samples),
            "objective": self.objective.name,
        }
        for name in METRICS:
            facts |= METRICS[name].facts(self._config, self.num_samples)
        if self._extractor.accuracy:
            facts["extractor_accuracy"] = self._extractor.accuracy
        return facts

    def _real(self, split: Split) -> Tensor:
        """Return the features of a split's fixed subset, from memory, the cache or the images."""
        if split not in self._real_features:
            # v1: of what a cached file holds, apart from what its name says.
            facts = (split, str(self.num_samples), self._extractor.sha256[:16])
            name = "_".join(("features_v1", self._dataset.digest, *facts))
            path = self._cache_dir / f"{name}.safetensors"
            features = read_features(path)
            if features is None:
                features = self._extractor(self._subset(split))
                write_features(path, features)
            self._real_features[split] = features
        return self._real_features[split]

    def _subset(self, split: Split) -> Tensor:
        """Return `num_samples` images of a split, drawn at random with a fixed seed."""
        images = self._dataset.part(split).images
        generator = torch.Generator().manual_seed(derive_seed(SUBSET_SEED, "subset", split))
        return images[torch.randperm(len(images), generator=generator)[: self.num_samples]]


def _num_samples(dataset: Dataset, config: EvaluateConfig) -> int:
    """Return n: as configured, or the largest that every part has, at most 10,000."""
    maximum = min(len(dataset.train), len(dataset.validation), len(dataset.test))
    if maximum < MIN_SAMPLES:
        raise HarnessError(
            f"dataset {dataset.name!r}: its smallest part has {maximum} images, a score needs at "
            f"least {MIN_SAMPLES}"
        )
    samples = min(maximum, MAX_DEFAULT_SAMPLES) if config.samples is None else config.samples
    if not MIN_SAMPLES <= samples <= maximum:
        raise HarnessError(
            f"evaluate.samples = {samples}: dataset {dataset.name!r} allows {MIN_SAMPLES} to "
            f"{maximum}, the size of its smallest part"
        )
    return samples


def _extractor(
    dataset: Dataset, config: EvaluateConfig, cache_dir: Path, device: torch.device
) -> Extractor:
    name = dataset.extractor if config.extractor is None else config.extractor
    if config.extractor_weights is not None and name != "inception":
        raise HarnessError(
            f"evaluate.extractor_weights = {str(config.extractor_weights)!r}: only "
            'evaluate.extractor = "inception" takes a weights file'
        )
    if name is None:
        return trained_ruler(dataset, cache_dir, device)
    if name == "inception":
        return inception(config.extractor_weights, device)
    if name not in SHIPPED:
        raise unknown_name("evaluate.extractor", name, [*SHIPPED, "inception"])
    return shipped_ruler(name, dataset, device)


def _short(count: int) -> str:
    """Return 10_000 as `10k`, and what is no whole thousand as it is."""
    return f"{count // 1000}k" if count % 1000 == 0 else str(count)

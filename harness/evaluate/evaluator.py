"""The Evaluator: one protocol per study, from images to named scores."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from harness.data import Dataset, Split, with_channels
from harness.errors import HarnessError
from harness.evaluate import EvaluateConfig
from harness.evaluate.chosen import chosen_extractor
from harness.evaluate.features import Features, plain_float32
from harness.evaluate.files import (
    read_features,
    read_figures,
    write_features,
)
from harness.evaluate.metric import (
    COPY,
    FLOOR,
    METRICS,
    Compared,
    Metric,
    metric_of,
    objective_figure,
)
from harness.evaluate.neighbours import nearest
from harness.evaluate.subsets import count_samples, shuffled_places
from harness.files import write_atomically
from harness.plugins import plugin_hashes

FLOOR_DRAWS = 5
Draw: TypeAlias = tuple[Split, int]
"""A split, and which random subset of it."""


class Evaluator:
    """Scores samples against one dataset under one protocol: extractor, number of samples, split.

    Where fewer real images are compared than a split has, they are a fixed random subset of it,
    never its head: the published order of a split is rarely random.

    Args:
        dataset: What samples are compared with, on the CPU.
        config: The study's `[evaluate]` table.
        cache_dir: Where trained rulers and real features are kept.
        device: Where features are computed.
        source: The other domain, where samples are translations of its images.
        suffix: What metric keys end with beside the protocol.
        metrics: Those that are computed; none: all that the data and the extractor serve.

    Attributes:
        num_samples: n, generated and real.
        protocol: Extractor and n as in metric keys, e.g. `mnist_cnn_v1_10k`.
        objective: The figure that runs are ranked by.

    Raises:
        HarnessError: The protocol is impossible on this dataset; the message says why.
    """

    def __init__(
        self,
        dataset: Dataset,
        config: EvaluateConfig,
        *,
        cache_dir: Path,
        device: torch.device,
        source: Dataset | None = None,
        suffix: str = "",
        metrics: Sequence[str] = (),
    ) -> None:
        self._chosen = tuple(metrics)
        self.objective = objective_figure(config.objective)
        self._dataset = dataset
        self._source = source
        self._suffix = suffix
        self._cache_dir = cache_dir
        self.num_samples = count_samples(dataset, config, source)
        self._extractor = chosen_extractor(dataset, config, cache_dir, device)
        self.protocol = f"{self._extractor.name}_{_short(self.num_samples)}"
        self._config = config
        self._check_objective()
        self._features: dict[Draw, Features] = {}

    def _check_objective(self) -> None:
        """Raise HarnessError if data or ruler do not serve the figure that runs are ranked by."""
        objective, owner = self.objective.name, metric_of(self.objective.name)
        if owner.needs_labels and not self._labelled:
            raise HarnessError(
                f"evaluate.objective = {objective!r}: dataset {self._dataset.name!r} has no "
                "labels; choose another objective"
            )
        if owner.needs_classes and not self._extractor.classes:
            raise HarnessError(
                f"evaluate.objective = {objective!r}: {self._extractor.name} knows no "
                "classes; choose another objective or extractor"
            )
        if owner.needs_returned and self._source is None:
            raise HarnessError(
                f"evaluate.objective = {objective!r}: dataset {self._dataset.name!r} has one "
                "domain, so that nothing is translated; choose another objective"
            )
        if owner.needs_density and self._dataset.density is None:
            raise HarnessError(
                f"evaluate.objective = {objective!r}: the density of dataset "
                f"{self._dataset.name!r} is not known; choose another objective"
            )

    @property
    def ranks_by_asked_classes(self) -> bool:
        """Whether runs are ranked by a figure that only samples asked of a class have."""
        return metric_of(self.objective.name).needs_labels

    def key(self, split: Split, figure: str) -> str:
        """Return a figure's full name, e.g. `val/fid_mnist_cnn_v1_10k`."""
        prefix = "val" if split == "validation" else split
        own = metric_of(figure).protocol(self._config)
        return "_".join(filter(None, (f"{prefix}/{figure}", self.protocol, own, self._suffix)))

    def score(
        self,
        fake_images: Tensor,
        *splits: Split,
        final: bool = True,
        classes: Tensor | None = None,
        sources: Tensor | None = None,
        returned: Tensor | None = None,
    ) -> dict[str, float]:
        """Return the registered metrics' figures of samples against each split, by key.

        Args:
            fake_images: (num_samples, *sample_shape) on any device, as real ones are stored.
            splits: The real images to compare with.
            final: Whether to compute those metrics too that are left for a run's end.
            classes: The classes (num_samples,) int64 that samples were asked for; None leaves out
                what is measured of them, as data without labels do.
            sources: The images that samples are translations of, (num_samples, C, H, W) uint8.
            returned: The samples translated back, likewise; None leaves out what is measured of
                the way there and back.

        Raises:
            ValueError: Wrong number, shape or type of images or classes, or features that are not
                finite.
        """
        expected = (self.num_samples, *self._dataset.sample_shape)
        kind = self._dataset.kind
        if fake_images.shape != expected or fake_images.dtype != kind.dtype:
            raise ValueError(
                f"expected {expected} {kind.type_name} {kind.noun}, got "
                f"{tuple(fake_images.shape)} {fake_images.dtype}"
            )
        fakes = self._extractor(fake_images)
        labels = None if classes is None else self._checked(classes)
        return {
            self.key(split, figure): value
            for split in splits
            for metric in self._metrics(
                conditional=labels is not None, returned=returned is not None
            )
            if final or not metric.at_end or self.objective in metric.figures
            for figure, value in self._compute(
                metric, fakes, labels, (split, 0), sources, returned
            ).items()
        }

    def _checked(self, classes: Tensor) -> Tensor:
        """Return asked classes on the CPU; raises ValueError for what are none of the data's."""
        if classes.shape != (self.num_samples,) or classes.dtype != torch.int64:
            raise ValueError(
                f"expected {(self.num_samples,)} int64 classes, got {tuple(classes.shape)} "
                f"{classes.dtype}"
            )
        classes, number = classes.cpu(), self._dataset.num_classes
        if self._labelled and not bool(((classes >= 0) & (classes < number)).all()):
            raise ValueError(f"expected classes from 0 to {number - 1}")
        return classes

    def floor(self, split: Split, *, conditional: bool = False) -> dict[str, float]:
        """Return what real images score against a split, as a perfect model would, by key.

        Disjoint draws of as many training images, five if there are so many, give a mean and a
        standard deviation, and one against another what training images score among themselves.
        Metrics that the ruler's own training images would flatter get the other held-out part.
        Where images are translated, all of these metrics are given the images themselves too: a
        translation is worth something where it scores better.

        Args:
            split: The real images to compare with.
            conditional: Whether to score real images under their own labels too, by the figures
                that only samples asked of a class have.
        """
        plain = self._metrics(conditional=False)
        asked = [each for each in self._metrics(conditional=True) if each.needs_labels]
        figures = self._kept_floor(split, plain)
        if conditional and asked:  # in a file of their own: most studies do without
            figures |= self._kept_floor(split, asked)
        return {self.key(split, figure): value for figure, value in figures.items()}

    def _kept_floor(self, split: Split, metrics: Sequence[Metric]) -> dict[str, float]:
        """Return metrics' floors by figure, from the cache where they are there."""
        code = [Path(inspect.getfile(each.compute)).read_text() for each in metrics]
        made = f"{self._config.kid_subsets}/{sorted(plugin_hashes().items())}/{code}"
        if self._source is not None:
            made += f"/{self._source.digest}"
        hash8 = hashlib.sha256(made.encode()).hexdigest()[:8]
        kept = self._cache_dir / f"{self._cache_name('floors_v1', split, hash8)}.json"
        figures = read_figures(kept)
        if figures is None:
            figures = self._floor(split, metrics)
            write_atomically(kept, json.dumps(figures).encode())
        return figures

    def _floor(self, split: Split, metrics: Sequence[Metric]) -> dict[str, float]:
        other: Split = "test" if split == "validation" else "validation"
        num_draws = min(FLOOR_DRAWS, len(self._dataset.train) // self.num_samples)
        draws: list[Draw] = [("train", draw) for draw in range(num_draws)]
        copies = self._copies(split)
        figures: dict[str, float] = {}
        for metric in metrics:
            if metric.floor == "held_out":
                found = self._compare_real(metric, (other, 0), (split, 0))
                figures |= {f"{name}{FLOOR}": value for name, value in found.items()}
            elif metric.floor == "train":
                scores = [self._compare_real(metric, draw, (split, 0)) for draw in draws]
                # What one draw happens to lack has no floor.
                for name in (each for each in scores[0] if all(each in own for own in scores)):
                    values = torch.tensor([each[name] for each in scores], dtype=torch.float64)
                    figures[f"{name}{FLOOR}"] = float(values.mean())
                    if num_draws > 1:
                        figures[f"{name}{FLOOR}_sd"] = float(values.std())
                if num_draws > 1:
                    among = self._compare_real(metric, draws[1], draws[0])
                    figures |= {f"{name}{FLOOR}_train": value for name, value in among.items()}
            if copies is not None and metric.floor is not None and not metric.needs_labels:
                found = self._compute(metric, copies, None, (split, 0))
                figures |= {f"{name}{COPY}": value for name, value in found.items()}
        return figures

    def sources(self, split: Split) -> Tensor | None:
        """Return the images of the other domain whose translations are scored, a fixed subset.

        (num_samples, C, H, W) uint8; None where there is no other domain.
        """
        if self._source is None:
            return None
        part = self._source.part(split)
        return part.images[shuffled_places(len(part), split)[: self.num_samples]]

    def _copies(self, split: Split) -> Features | None:
        """Return the features of these images, with as many channels as translations have."""
        sources = self.sources(split)
        if sources is None:
            return None
        return self._extractor(with_channels(sources, self._dataset.sample_shape[0]))

    def nearest_training_images(self, images: Tensor) -> Tensor:
        """Return for each image the training image with the nearest features, of as many as scored.

        Args:
            images: (N, *sample_shape) as stored.
        """
        seen = self._extractor(images).values
        with plain_float32(torch.device("cpu")):
            _, places = nearest(seen, self._real(("train", 0)).values)
        return self._subset("train", 0)[places]

    def classes_of(self, images: Tensor) -> Tensor | None:
        """Return the ruler's class of each image, (N,), or None where it knows none."""
        classes = self._extractor(images).classes
        return None if classes is None else classes.argmax(dim=1)

    def of_fewer(self, num_samples: int) -> Evaluator:
        """Return one that scores so many samples, or fewer, by the same ruler and metrics."""
        fewer = copy.copy(self)
        fewer.num_samples = min(self.num_samples, num_samples)
        fewer._features = {}
        return fewer

    def real_images(self, split: Split, num: int) -> Tensor:
        """Return the first `num` of the images that a split's scores rest on."""
        return self._subset(split, 0)[:num]

    @property
    def _labelled(self) -> bool:
        """Whether every image that is compared has a class."""
        dataset = self._dataset
        parts = (dataset.train, dataset.validation, dataset.test)
        return all(part.labels is not None for part in parts)

    def _metrics(self, *, conditional: bool, returned: bool = False) -> list[Metric]:
        """Return the metrics that this ruler can serve.

        For samples asked of a class or not, and for translations that lead back or not.
        """
        labels = conditional and self._labelled
        return [
            metric
            for metric in map(METRICS.__getitem__, self._chosen or METRICS)
            if (self._extractor.classes or not metric.needs_classes)
            and (labels or not metric.needs_labels)
            and (returned or not metric.needs_returned)
            and (self._dataset.density or not metric.needs_density)
        ]

    def _compute(
        self,
        metric: Metric,
        fakes: Features,
        labels: Tensor | None,
        real: Draw,
        sources: Tensor | None = None,
        returned: Tensor | None = None,
    ) -> Mapping[str, float]:
        """Return a metric's figures of samples, asked for these classes, against real images."""
        reals = self._real(real)
        compared = Compared(
            real=reals.values,
            fake=fakes.values,
            train=self._real(("train", 0)).values,
            real_classes=reals.classes,
            fake_classes=fakes.classes,
            real_labels=self._labels(*real),
            fake_labels=labels,
            sources=sources,
            returned=returned,
            density=self._dataset.density,
            config=self._config,
        )
        with plain_float32(torch.device("cpu")):
            return metric.compute(compared)

    def _compare_real(self, metric: Metric, images: Draw, real: Draw) -> Mapping[str, float]:
        """Return a metric's figures of real images under their own labels against others."""
        return self._compute(metric, self._real(images), self._labels(*images), real)

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

    def _real(self, draw: Draw) -> Features:
        """Return the features of a fixed subset, from memory, the cache or the images."""
        if draw not in self._features:
            path = self._cache_dir / f"{self._cache_name('features_v2', *draw)}.safetensors"
            features = read_features(path)
            if features is None:
                features = self._extractor(self._subset(*draw))
                write_features(path, features)
            self._features[draw] = features
        return self._features[draw]

    def _cache_name(self, *what: object) -> str:
        facts = (self._dataset.digest, self.num_samples, self._extractor.sha256[:16])
        return "_".join(map(str, (*what, *facts)))

    def _subset(self, split: Split, draw: int) -> Tensor:
        """Return the images of a draw."""
        return self._dataset.part(split).images[self._places(split, draw)]

    def _labels(self, split: Split, draw: int) -> Tensor | None:
        """Return their classes, or None where the data carry none."""
        labels = self._dataset.part(split).labels
        return None if labels is None else labels[self._places(split, draw)]

    def _places(self, split: Split, draw: int) -> Tensor:
        """Return where `num_samples` images of a split lie, drawn at random with a fixed seed.

        Draws of other numbers share no image.
        """
        order = shuffled_places(len(self._dataset.part(split)), split)
        return order[draw * self.num_samples :][: self.num_samples]


def _short(count: int) -> str:
    """Return 10_000 as `10k`, and what is no whole thousand as it is."""
    return f"{count // 1000}k" if count % 1000 == 0 else str(count)

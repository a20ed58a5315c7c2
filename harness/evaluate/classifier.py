"""The small classifier inside every ruler, and the one recipe that trains it and its judge's."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy, relu

from harness.data import Part, to_unit_range
from harness.progress import advance
from harness.randomness import derive_seed, seeded

# A change of anything below, or of the network, is another recipe (see `ruler.RECIPE`).
POOLED = 4  # side of the maps that leave the convolutions
BATCH_SIZE = 128
EPOCHS = 40
MIN_STEPS = 200
MAX_STEPS = 2000
PEAK_LR = 3e-3
WEIGHT_DECAY = 1e-2


class Classifier(nn.Module, ABC):
    """What a ruler sees through; its subclasses are the networks.

    Args:
        sample_shape: (C, H, W) of the images.
        num_features: Size d of the embedding, the layer before the logits.
        num_classes: Number of logits.
    """

    def __init__(
        self, sample_shape: tuple[int, int, int], *, num_features: int, num_classes: int
    ) -> None:
        super().__init__()
        self.sample_shape = sample_shape
        self.num_features = num_features
        self.num_classes = num_classes

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of uint8 images: (N, C, H, W) -> (N, num_classes)."""

    @abstractmethod
    def depths(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what every depth sees of uint8 images, side by side (N, D), and their logits."""


class SmallCnn(Classifier):
    """Three convolutions, a linear embedding (the features) and a linear layer to the classes."""

    def __init__(
        self, sample_shape: tuple[int, int, int], *, num_features: int, num_classes: int
    ) -> None:
        super().__init__(sample_shape, num_features=num_features, num_classes=num_classes)
        self.embed = nn.Sequential(
            *_block(sample_shape[0], 32, stride=1),
            *_block(32, 64, stride=2),
            *_block(64, 64, stride=2),
            nn.AdaptiveAvgPool2d(POOLED),
            nn.Flatten(),
            nn.Linear(64 * POOLED * POOLED, num_features),
            # Features of unit variance, whatever the data: KID's kernel (xᵀy / d + 1)³ has a scale.
            nn.BatchNorm1d(num_features, affine=False),
        )
        self.classify = nn.Linear(num_features, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the embedding of uint8 images: (N, C, H, W) -> (N, d), before its activation.

        A ReLU's zeros would hide differences among images that the classes do not need.
        """
        embedding: Tensor = self.embed(to_unit_range(images))
        return embedding

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of uint8 images: (N, C, H, W) -> (N, num_classes)."""
        logits: Tensor = self.classify(relu(self.features(images)))
        return logits

    def depths(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what every depth sees of uint8 images, and their logits.

        Returns:
            The three convolutions' activations, averaged to 4x4 and side by side, (N, D), and the
            logits (N, num_classes).
        """
        maps, seen = to_unit_range(images), []
        for layer in self.embed:
            maps = layer(maps)
            if isinstance(layer, nn.ReLU):
                seen.append(adaptive_avg_pool2d(maps, POOLED).flatten(1))
        return torch.cat(seen, dim=1), self.classify(relu(maps))


def _block(in_channels: int, out_channels: int, *, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    ]


def train_classifier(
    part: Part,
    num_features: int,
    seed: int,
    kind: type[Classifier] = SmallCnn,
    noun: str = "a classifier",
) -> Classifier:
    """Train a classifier on a labelled part, on the CPU so that the device changes nothing.

    AdamW with a one-cycle learning rate on cross-entropy, no augmentation and no dropout. The same
    part, seed and thread count give the same bits; the global random state is left alone.

    Args:
        part: Training images and their labels.
        num_features: Size of the embedding.
        seed: Root of the initialisation and of the data order.
        kind: What is trained.
        noun: What it is called where its progress is shown.

    Returns:
        The classifier in eval mode.
    """
    if part.labels is None:
        raise ValueError("a classifier needs labels")
    channels, height, width = part.images.shape[1:]
    with seeded(derive_seed(seed, "initialisation")):
        network = kind(
            (channels, height, width),
            num_features=num_features,
            num_classes=int(part.labels.max()) + 1,
        )
    batches = _batches(len(part), torch.Generator().manual_seed(derive_seed(seed, "order")))
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_LR, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LR, total_steps=len(batches))
    with torch.enable_grad():
        for step, indices in enumerate(batches):
            loss = cross_entropy(network(part.images[indices]), part.labels[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            advance(f"training {noun}", step + 1, len(batches))
    return network.eval()


def _batches(num_images: int, generator: torch.Generator) -> Tensor:
    """Return the indices of every step's batch, (steps, batch size); an epoch visits each once."""
    batch_size = min(BATCH_SIZE, num_images)
    steps = min(MAX_STEPS, max(MIN_STEPS, EPOCHS * num_images // batch_size))
    epochs = math.ceil(steps * batch_size / num_images)
    order = torch.cat([torch.randperm(num_images, generator=generator) for _ in range(epochs)])
    return order[: steps * batch_size].view(steps, batch_size)


@torch.no_grad()
def accuracy(network: Classifier, part: Part) -> float:
    """Return the share of a labelled part that the classifier, in eval mode, gets right."""
    if part.labels is None:
        raise ValueError("accuracy needs labels")
    predicted = torch.cat([network(chunk).argmax(dim=1) for chunk in part.images.split(500)])
    return float((predicted == part.labels).double().mean())

"""From images to features: one extractor, applied in one way wherever samples are scored."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Features:
    """What an extractor sees in images.

    Attributes:
        values: (N, d) float32 on the CPU.
        classes: Class probabilities (N, K) likewise; None where the extractor knows no classes.
    """

    values: Tensor
    classes: Tensor | None

    def take(self, indices: Tensor) -> Features:
        """Return those of the images at `indices`."""
        classes = None if self.classes is None else self.classes[indices]
        return Features(values=self.values[indices], classes=classes)


class Extractor:
    """A frozen network with a name, applied in chunks, in eval mode and plain float32.

    Args:
        name: As it stands in metric keys.
        sha256: Hash of the weights file, 64 hex digits.
        num_features: d.
        network: Owner of the weights; put into eval mode and moved to `device` here.
        extract: Maps (N, C, H, W) uint8 to features (N, d) and logits (N, K), or None in place of
            the latter; a method of `network`.
        device: Where features are computed.
        classes: Whether it knows classes.
        chunk_size: Images per pass.
        accuracy: What is known of a classifier's accuracy, for the record.
    """

    def __init__(
        self,
        *,
        name: str,
        sha256: str,
        num_features: int,
        network: nn.Module,
        extract: Callable[[Tensor], tuple[Tensor, Tensor | None]],
        device: torch.device,
        classes: bool,
        chunk_size: int = 500,
        accuracy: str | None = None,
    ) -> None:
        self.name = name
        self.sha256 = sha256
        self.num_features = num_features
        self.accuracy = accuracy
        self.classes = classes
        self._network = network.to(device).eval().requires_grad_(False)
        self._extract = extract
        self._device = device
        self._chunk_size = chunk_size

    def __call__(self, images: Tensor) -> Features:
        """Return the features of `images`, (N, C, H, W) uint8 on any device."""
        features, classes = [], []
        with torch.no_grad(), plain_float32(self._device):
            for chunk in images.split(self._chunk_size):
                values, logits = self._extract(chunk.to(self._device))
                features.append(values.float().cpu())
                if logits is not None:
                    classes.append(logits.float().softmax(dim=1).cpu())
        return Features(values=torch.cat(features), classes=torch.cat(classes) if classes else None)


@contextlib.contextmanager
def plain_float32(device: torch.device) -> Iterator[None]:
    """Switch off autocast and TF32: a trainer's choice of precision must not move the ruler."""
    matmul_precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with (
            torch.autocast(device.type, enabled=False),
            torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=True, allow_tf32=False
            ),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul_precision)


class Precomputed(nn.Module):
    """Stands in for torchmetrics' feature network where the features are at hand already.

    Args:
        num_features: d.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        """Return `features`."""
        return features


def check_finite(features: Tensor) -> Tensor:
    """Return the features.

    Raises:
        ValueError: A feature is not finite; a score of such samples would mean nothing.
    """
    if not torch.isfinite(features).all():
        raise ValueError("a feature is not finite: these samples cannot be scored")
    return features


def as_exact(features: Tensor) -> Tensor:
    """Return the features as float64; raises ValueError where one is not finite."""
    return check_finite(features).double()

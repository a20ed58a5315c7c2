"""From images to features: one extractor, applied in one way wherever samples are scored."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn


class Extractor:
    """A frozen network with a name, applied in chunks, in eval mode and plain float32.

    Args:
        name: As it stands in metric keys.
        sha256: Hash of the weights file, 64 hex digits.
        num_features: d.
        network: Owner of the weights; put into eval mode and moved to `device` here.
        extract: Maps (N, C, H, W) uint8 to (N, d), a method of `network`.
        device: Where features are computed.
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
        extract: Callable[[Tensor], Tensor],
        device: torch.device,
        chunk_size: int = 500,
        accuracy: str | None = None,
    ) -> None:
        self.name = name
        self.sha256 = sha256
        self.num_features = num_features
        self.accuracy = accuracy
        self._network = network.to(device).eval().requires_grad_(False)
        self._extract = extract
        self._device = device
        self._chunk_size = chunk_size

    def __call__(self, images: Tensor) -> Tensor:
        """Return the features of `images`.

        Args:
            images: (N, C, H, W) uint8 on any device.

        Returns:
            (N, d) float32 on the CPU.
        """
        with torch.no_grad(), _plain_float32(self._device):
            chunks = [
                self._extract(chunk.to(self._device)).float().cpu()
                for chunk in images.split(self._chunk_size)
            ]
        return torch.cat(chunks)


@contextlib.contextmanager
def _plain_float32(device: torch.device) -> Iterator[None]:
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


def as_exact(features: Tensor) -> Tensor:
    """Return the features as float64.

    Raises:
        ValueError: A feature is not finite; a score of such samples would mean nothing.
    """
    if not torch.isfinite(features).all():
        raise ValueError("a feature is not finite: these samples cannot be scored")
    return features.double()

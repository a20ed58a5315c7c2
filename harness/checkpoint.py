"""Files of a run: checkpoints to continue from, and generators that others can load.

Reading either executes no pickled code: checkpoints hold tensors and plain values only, generators
are safetensors beside a JSON description.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from harness.architectures import ARCHITECTURES, NORMS, NetworkSettings
from harness.config import Config, Count, Fraction, TrainConfig, parse
from harness.data import to_uint8
from harness.errors import HarnessError
from harness.randomness import derive_seed

WEIGHTS_FILE = "generator.safetensors"
SPEC_FILE = "generator.json"
SAMPLES_PER_PASS = 500


class GeneratorSpec(Config):
    """All that rebuilds a generator without its study."""

    format: Literal["gan-ablation-harness generator v1"] = "gan-ablation-harness generator v1"
    architecture: str
    latent_dim: Count
    channels: Count
    height: Count
    width: Count
    g_width: Count
    g_depth: Count
    g_norm: str
    g_activation: str
    g_dropout: Fraction
    weights_sha256: str
    """Of the weights file beside it."""

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (self.channels, self.height, self.width)


def save_generator(
    folder: Path, generator: nn.Module, config: TrainConfig, sample_shape: tuple[int, int, int]
) -> GeneratorSpec:
    """Write a generator's weights and description into `folder` and return the description."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: value.contiguous().cpu() for key, value in generator.state_dict().items()}
    payload = safetensors.torch.save(weights)
    spec = GeneratorSpec(
        architecture=config.architecture,
        latent_dim=config.latent_dim,
        channels=sample_shape[0],
        height=sample_shape[1],
        width=sample_shape[2],
        g_width=config.g_width,
        g_depth=config.g_depth,
        g_norm=config.g_norm,
        g_activation=config.g_activation,
        g_dropout=config.g_dropout,
        weights_sha256=hashlib.sha256(payload).hexdigest(),
    )
    (folder / WEIGHTS_FILE).write_bytes(payload)
    (folder / SPEC_FILE).write_text(json.dumps(spec.model_dump(), indent=2) + "\n")
    return spec


def load_generator(folder: Path) -> tuple[nn.Module, GeneratorSpec]:
    """Rebuild a generator, in eval mode on the CPU.

    Returns:
        A module that maps latents (N, latent_dim) ~ N(0, I) to images (N, C, H, W) in [-1, 1], and
        its description.

    Raises:
        HarnessError: The folder is missing, foreign or corrupt.
    """
    spec_file, weights_file = folder / SPEC_FILE, folder / WEIGHTS_FILE
    for file in (spec_file, weights_file):
        if not file.is_file():
            raise HarnessError(f"{folder} is not an exported generator: {file.name} is missing")
    try:
        raw = json.loads(spec_file.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise HarnessError(f"{spec_file} is not valid JSON") from None
    spec = parse(GeneratorSpec, raw, str(spec_file))
    payload = weights_file.read_bytes()
    if hashlib.sha256(payload).hexdigest() != spec.weights_sha256:
        raise HarnessError(f"{weights_file} is damaged: its SHA-256 is not that in {SPEC_FILE}")
    NORMS[spec.g_norm]  # an unknown one would pass for none
    settings = NetworkSettings(
        width=spec.g_width,
        depth=spec.g_depth,
        norm=spec.g_norm,
        activation=spec.g_activation,
        dropout=spec.g_dropout,
    )
    try:
        with torch.random.fork_rng(devices=[]):
            architecture = ARCHITECTURES[spec.architecture]
            generator = architecture.generator(settings, spec.latent_dim, spec.sample_shape)
        generator.load_state_dict(safetensors.torch.load(payload))
    except (RuntimeError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise HarnessError(f"{weights_file} does not fit {SPEC_FILE}: {reason}") from None
    return generator.eval(), spec


def draw_latents(num_samples: int, latent_dim: int, seed: int) -> Tensor:
    """Return latents (num_samples, latent_dim) ~ N(0, I), the same on every device."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "samples"))
    return torch.randn(num_samples, latent_dim, generator=generator)


@torch.inference_mode()
def generate(generator: nn.Module, latents: Tensor) -> Tensor:
    """Return uint8 images (N, C, H, W) on the CPU, as they are scored and saved.

    The generator must be in eval mode; a non-finite image raises FloatingPointError.
    """
    device = next(generator.parameters()).device
    images = []
    for chunk in torch.split(latents, SAMPLES_PER_PASS):
        batch = generator(chunk.to(device))
        if not batch.isfinite().all():
            raise FloatingPointError("the generator's images are not finite")
        images.append(to_uint8(batch.float()).cpu())
    return torch.cat(images)


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint so that the file is always either the old or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    torch.save(content, temporary)
    os.replace(temporary, path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return a checkpoint's content, or None where there is none."""
    if not path.exists():
        return None
    content: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    return content

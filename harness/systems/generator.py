"""Generators as folders that others can load, and images drawn from them.

Reading one executes no pickled code: the weights are safetensors beside a JSON description.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import safetensors
import safetensors.torch
import torch
from pydantic import Field
from torch import Tensor, nn

from harness.config import Config, Count, parse
from harness.data import Facts, to_uint8
from harness.errors import HarnessError
from harness.plugins import check_plugins, plugin_hashes
from harness.randomness import derive_seed
from harness.systems.config import TrainConfig
from harness.systems.system import parse_config, system_of

WEIGHTS_FILE = "generator.safetensors"
SPEC_FILE = "generator.json"
SAMPLES_PER_PASS = 500


class GeneratorSpec(Config):
    """All that rebuilds a generator without its study."""

    format: Literal["gan-ablation-harness generator v2"] = "gan-ablation-harness generator v2"
    sample_shape: Annotated[tuple[Count, Count, Count], Field(strict=False)]
    """(C, H, W)."""
    num_classes: int = 0
    config: dict[str, Any]
    """The run's settings."""
    weights_sha256: str
    """Of the weights file beside it."""
    plugins: dict[str, str] = {}
    """Name -> hash of every plugin that was loaded: the settings may name what they register."""

    def draw_inputs(
        self, num_samples: int, seed: int, label: int | None = None
    ) -> tuple[Tensor, ...]:
        """Return inputs for so many samples, of one class if it is given; the same everywhere."""
        config = parse_config(self.config, SPEC_FILE)
        return draw_inputs(config, self.facts, num_samples, seed, label)

    @property
    def is_conditional(self) -> bool:
        """Whether its samples are asked of a class."""
        return is_conditional(parse_config(self.config, SPEC_FILE), self.facts)

    @property
    def facts(self) -> Facts:
        """What the network was built for."""
        return Facts(sample_shape=self.sample_shape, num_classes=self.num_classes)


def save_generator(
    folder: Path, generator: nn.Module, config: TrainConfig, facts: Facts
) -> GeneratorSpec:
    """Write a generator's weights and description into `folder` and return the description."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: value.contiguous().cpu() for key, value in generator.state_dict().items()}
    payload = safetensors.torch.save(weights)
    spec = GeneratorSpec(
        **asdict(facts),
        config=config.model_dump(mode="json"),
        weights_sha256=hashlib.sha256(payload).hexdigest(),
        plugins=plugin_hashes(),
    )
    (folder / WEIGHTS_FILE).write_bytes(payload)
    (folder / SPEC_FILE).write_text(json.dumps(spec.model_dump(), indent=2) + "\n")
    return spec


def load_generator(folder: Path) -> tuple[nn.Module, GeneratorSpec]:
    """Rebuild a generator, in eval mode on the CPU.

    Returns:
        A module that maps its inputs (see `GeneratorSpec.draw_inputs`) to images (N, C, H, W) in
        [-1, 1], and its description.

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
    spec = parse(GeneratorSpec, _upgraded(raw), str(spec_file))
    check_plugins(spec.plugins, f"the generator in {folder}")
    payload = weights_file.read_bytes()
    if hashlib.sha256(payload).hexdigest() != spec.weights_sha256:
        raise HarnessError(f"{weights_file} is damaged: its SHA-256 is not that in {SPEC_FILE}")
    config = parse_config(spec.config, str(spec_file))
    system = system_of(spec.config)
    try:
        with torch.random.fork_rng(devices=[]):
            generator = system.builders(config, spec.facts)[system.sampled(config)]()
        generator.load_state_dict(safetensors.torch.load(payload))
    except (RuntimeError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise HarnessError(f"{weights_file} does not fit {SPEC_FILE}: {reason}") from None
    return generator.eval(), spec


def _upgraded(raw: Any) -> Any:
    """Return a description as it is written now; one of version 1 named a GAN's settings alone."""
    if not isinstance(raw, dict) or raw.get("format") != "gan-ablation-harness generator v1":
        return raw
    config = {key: value for key, value in raw.items() if key not in ("format", "weights_sha256")}
    shape = [config.pop(key, None) for key in ("channels", "height", "width")]
    return {"sample_shape": shape, "config": config, "weights_sha256": raw.get("weights_sha256")}


def draw_inputs(
    config: TrainConfig, facts: Facts, num_samples: int, seed: int, label: int | None = None
) -> tuple[Tensor, ...]:
    """Return what a system's generator takes for so many samples, the same on every device.

    Args:
        config: The system's settings.
        facts: What its networks were built for.
        num_samples: How many.
        seed: One seed, one set of inputs.
        label: The class that all samples are asked of; None: any.

    Raises:
        HarnessError: There is no such class, or the system makes no samples of a chosen one.
    """
    num_classes = facts.num_classes
    if label is not None and not 0 <= label < num_classes and is_conditional(config, facts):
        raise HarnessError(f"class {label}: allowed are 0 to {num_classes - 1}")
    generator = torch.Generator().manual_seed(derive_seed(seed, "samples"))
    system = system_of({"system": config.system})
    return system.draw_inputs(config, facts, num_samples, generator, label)


def is_conditional(config: TrainConfig, facts: Facts) -> bool:
    """Return whether a system's samples are asked of a class."""
    system = system_of({"system": config.system})
    return system.asked_classes(config, draw_inputs(config, facts, 1, 0)) is not None


@torch.inference_mode()
def generate(generator: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return uint8 images (N, C, H, W) on the CPU, as they are scored and saved.

    The generator must be in eval mode; a non-finite image raises FloatingPointError.
    """
    device = next(generator.parameters()).device
    images = []
    for chunk in zip(*(torch.split(each, SAMPLES_PER_PASS) for each in inputs), strict=True):
        batch = generator(*(each.to(device) for each in chunk))
        if not batch.isfinite().all():
            raise FloatingPointError("the generator's images are not finite")
        images.append(to_uint8(batch.float()).cpu())
    return torch.cat(images)

"""Generators as folders that others can load, and images drawn from them.

Reading one executes no pickled code: the weights are safetensors beside a JSON description.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import safetensors
import safetensors.torch
import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from harness.config import Config, Count, parse
from harness.data import Facts, Mixture, kind_of
from harness.errors import HarnessError, unknown_name
from harness.plugins import check_plugins, plugin_hashes
from harness.randomness import derive_seed
from harness.systems.config import TrainConfig
from harness.systems.system import as_recorded, parse_config, system_of

WEIGHTS_FILE = "generator.safetensors"  # of the network that is sampled, whatever its name
RAW_FILE = "raw_generator.safetensors"  # of another one that is named `generator`
SPEC_FILE = "generator.json"
SAMPLES_PER_PASS = 500


def _of_a_kind(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape that samples may have; as a pydantic validator."""
    kind_of(shape)
    return shape


class GeneratorSpec(Config):
    """All that rebuilds a generator without its study."""

    format: Literal["gan-ablation-harness generator v2"] = "gan-ablation-harness generator v2"
    sample_shape: Annotated[tuple[Count, ...], Field(strict=False), AfterValidator(_of_a_kind)]
    """(C, H, W) of images, (d,) of points."""
    num_classes: int = 0
    class_shares: Annotated[tuple[float, ...], Field(strict=False)] = ()
    """How often each class is drawn where none is asked for."""
    source_shape: Annotated[tuple[Count, Count, Count], Field(strict=False)] | None = None
    """(C, H, W) of the images that it translates; none where it translates none."""
    density: Mixture | None = None
    """What real samples are drawn from, where that is known."""
    config: dict[str, Any]
    """The run's settings."""
    weights_sha256: str
    """Of the weights file beside it."""
    others: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")], str] = {}
    """Name -> SHA-256 of the file of every other network of the system."""
    plugins: dict[str, str] = {}
    """Name -> hash of every plugin that was loaded: the settings may name what they register."""

    def draw_inputs(
        self,
        num_samples: int,
        seed: int,
        label: int | None = None,
        sources: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Return inputs for so many samples, of one class if it is given; the same everywhere.

        They are made of `sources`, (N, C, H, W) uint8, where images are translated.
        """
        return draw_inputs(self._config, self.facts, num_samples, seed, label, sources)

    def truncated(self, limit: float) -> GeneratorSpec:
        """Return a description whose latents' parts are no larger than a limit.

        Raises:
            HarnessError: Its latents are not normal, or it has none.
        """
        if "truncation" not in self.config:
            raise HarnessError(
                f"truncation = {limit}: system = {self.config['system']!r} has no such setting"
            )
        config = self.config | {"truncation": limit}
        parse_config(config, SPEC_FILE)
        return self.model_copy(update={"config": config})

    @property
    def is_conditional(self) -> bool:
        """Whether its samples are asked of a class."""
        return is_conditional(self._config, self.facts)

    @property
    def translates(self) -> bool:
        """Whether its samples are translations of images."""
        return self._config.translates

    @property
    def networks(self) -> tuple[str, ...]:
        """The network that is sampled, and where images are translated the one that leads back."""
        system = system_of(self.config)
        names = (system.sampled(self._config), system.returning(self._config))
        return tuple(filter(None, names))

    @property
    def _config(self) -> TrainConfig:
        return parse_config(self.config, SPEC_FILE)

    @property
    def facts(self) -> Facts:
        """What the network was built for."""
        return Facts(
            sample_shape=self.sample_shape,
            num_classes=self.num_classes,
            class_shares=self.class_shares,
            source_shape=self.source_shape,
            density=self.density,
        )


def save_generator(
    folder: Path,
    generator: nn.Module,
    config: TrainConfig,
    facts: Facts,
    others: Mapping[str, nn.Module] | None = None,
) -> GeneratorSpec:
    """Write a generator's weights and description into `folder` and return the description.

    Args:
        folder: Created where it is missing.
        generator: The network that is sampled.
        config: The run's settings.
        facts: What the networks were built for.
        others: The system's other networks by name, e.g. the discriminator; each goes into a file
            of its own (see `network_file`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    spec = GeneratorSpec(
        **asdict(facts),
        config=config.model_dump(mode="json"),
        weights_sha256=_write_weights(folder / WEIGHTS_FILE, generator),
        others={
            name: _write_weights(folder / network_file(name), network)
            for name, network in (others or {}).items()
        },
        plugins=plugin_hashes(),
    )
    (folder / SPEC_FILE).write_text(json.dumps(spec.model_dump(), indent=2) + "\n")
    return spec


def _write_weights(file: Path, network: nn.Module) -> str:
    """Write a network's weights and return the file's SHA-256."""
    weights = {key: value.contiguous().cpu() for key, value in network.state_dict().items()}
    payload = safetensors.torch.save(weights)
    file.write_bytes(payload)
    return hashlib.sha256(payload).hexdigest()


def network_file(name: str) -> str:
    """Return the file of a network that is not the sampled one."""
    file = f"{name}.safetensors"
    return RAW_FILE if file == WEIGHTS_FILE else file


def load_generator(folder: Path, network: str | None = None) -> tuple[nn.Module, GeneratorSpec]:
    """Rebuild a generator, in eval mode on the CPU.

    Args:
        folder: An exported generator.
        network: One of `GeneratorSpec.networks`; None: the first, which is scored.

    Returns:
        A module that maps its inputs (see `GeneratorSpec.draw_inputs`) to images (N, C, H, W) in
        [-1, 1] or points (N, d), and its description.

    Raises:
        HarnessError: The folder is missing, foreign or corrupt, or makes no images by this network.
    """
    spec = read_spec(folder)
    config = parse_config(spec.config, str(folder / SPEC_FILE))
    system = system_of(spec.config)
    name = spec.networks[0] if network is None else network
    if name not in spec.networks:
        raise unknown_name("network", name, spec.networks)
    file = find_network(folder, name)
    weights = file.read()
    try:
        with torch.random.fork_rng(devices=[]):
            generator = system.builders(config, spec.facts)[name]()
        generator.load_state_dict(weights)
    except RuntimeError as error:
        raise _unfit(file.path, error) from None
    return generator.eval(), spec


class WeightsFile(NamedTuple):
    """Where an exported network's weights lie, and the hash that its description states."""

    path: Path
    sha256: str

    def read(self) -> dict[str, Tensor]:
        """Return the weights by name, on the CPU; raises HarnessError if they are damaged."""
        try:
            return safetensors.torch.load(_read_weights(self.path, self.sha256))
        except safetensors.SafetensorError as error:
            raise _unfit(self.path, error) from None


def find_network(folder: Path, name: str | None = None) -> WeightsFile:
    """Return the weights of any network of an exported system.

    Args:
        folder: An exported generator.
        name: As the system names it, e.g. `discriminator`; None: the network that is sampled.

    Raises:
        HarnessError: The folder is missing or foreign, or holds no such network.
    """
    spec = read_spec(folder)
    sampled = system_of(spec.config).sampled(parse_config(spec.config, str(folder / SPEC_FILE)))
    there = {sampled: WeightsFile(folder / WEIGHTS_FILE, spec.weights_sha256)}
    for each, sha256 in spec.others.items():
        there[each] = WeightsFile(folder / network_file(each), sha256)
    name = sampled if name is None else name
    if name not in there:
        raise HarnessError(f"{folder} holds no network {name!r}, only {', '.join(there)}")
    return there[name]


def load_network(folder: Path, name: str) -> dict[str, Tensor]:
    """Return the weights by name of any network of an exported system (see `find_network`)."""
    return find_network(folder, name).read()


def generator_files(folder: Path) -> set[str]:
    """Return the names of the files that a folder's generator is made of, as far as it says so."""
    try:
        others = json.loads((folder / SPEC_FILE).read_text())["others"]
        return {SPEC_FILE, WEIGHTS_FILE, *map(network_file, others)}
    except (OSError, ValueError, LookupError, TypeError):
        return {SPEC_FILE, WEIGHTS_FILE}


def read_spec(folder: Path) -> GeneratorSpec:
    """Return a folder's description, once its plugins are loaded."""
    spec_file = folder / SPEC_FILE
    for file in (spec_file, folder / WEIGHTS_FILE):
        if not file.is_file():
            raise HarnessError(f"{folder} is not an exported generator: {file.name} is missing")
    try:
        raw = json.loads(spec_file.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise HarnessError(f"{spec_file} is not valid JSON") from None
    spec = parse(GeneratorSpec, _upgraded(raw), str(spec_file))
    check_plugins(spec.plugins, f"the generator in {folder}")
    return spec.model_copy(update={"config": as_recorded(spec.config)})


def _read_weights(file: Path, sha256: str) -> bytes:
    """Return a weights file's content, if it is the one that was written."""
    if not file.is_file():
        raise HarnessError(f"{file.parent} is incomplete: {file.name} is missing")
    payload = file.read_bytes()
    if hashlib.sha256(payload).hexdigest() != sha256:
        raise HarnessError(f"{file} is damaged: its SHA-256 is not that in {SPEC_FILE}")
    return payload


def _unfit(file: Path, error: Exception) -> HarnessError:
    return HarnessError(f"{file} does not fit {SPEC_FILE}: {str(error).splitlines()[0]}")


def _upgraded(raw: Any) -> Any:
    """Return a description as it is written now; one of version 1 named a GAN's settings alone."""
    if not isinstance(raw, dict) or raw.get("format") != "gan-ablation-harness generator v1":
        return raw
    config = {key: value for key, value in raw.items() if key not in ("format", "weights_sha256")}
    shape = [config.pop(key, None) for key in ("channels", "height", "width")]
    return {"sample_shape": shape, "config": config, "weights_sha256": raw.get("weights_sha256")}


def draw_inputs(
    config: TrainConfig,
    facts: Facts,
    num_samples: int,
    seed: int,
    label: int | None = None,
    sources: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Return what a system's generator takes for so many samples, the same on every device.

    Args:
        config: The system's settings.
        facts: What its networks were built for.
        num_samples: How many.
        seed: One seed, one set of inputs.
        label: The class that all samples are asked of; None: any.
        sources: What a system that translates images is to translate, (N, C, H, W) uint8 with N at
            least `num_samples`; others make no use of it.

    Raises:
        HarnessError: There is no such class, or the system makes no samples of a chosen one, or it
            translates images and there are none.
    """
    num_classes = facts.num_classes
    if label is not None and not 0 <= label < num_classes and is_conditional(config, facts):
        raise HarnessError(f"class {label}: allowed are 0 to {num_classes - 1}")
    generator = torch.Generator().manual_seed(derive_seed(seed, "samples"))
    if config.translates and sources is None:
        raise HarnessError(f"system = {config.system!r} translates images, and none are given")
    system = system_of({"system": config.system})
    return system.draw_inputs(config, facts, num_samples, generator, label, sources)


def example_inputs(config: TrainConfig, facts: Facts, num_samples: int) -> tuple[Tensor, ...]:
    """Return inputs that stand for any others: blank images where images are translated."""
    shape = facts.source_shape
    blank = None if shape is None else torch.zeros(num_samples, *shape, dtype=torch.uint8)
    return draw_inputs(config, facts, num_samples, 0, sources=blank)


def is_conditional(config: TrainConfig, facts: Facts) -> bool:
    """Return whether a system's samples are asked of a class."""
    system = system_of({"system": config.system})
    return system.asked_classes(config, example_inputs(config, facts, 1)) is not None


@torch.inference_mode()
def generate(generator: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return samples on the CPU as they are stored: images (N, C, H, W) uint8, or points (N, d).

    The generator must be in eval mode; a non-finite sample raises FloatingPointError.
    """
    device = next(generator.parameters()).device
    images = []
    for chunk in zip(*(torch.split(each, SAMPLES_PER_PASS) for each in inputs), strict=True):
        batch = generator(*(each.to(device) for each in chunk))
        if not batch.isfinite().all():
            raise FloatingPointError("the generator's samples are not finite")
        images.append(kind_of(batch.shape[1:]).to_stored(batch.float()).cpu())
    return torch.cat(images)

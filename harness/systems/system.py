"""What the harness knows of anything that it trains."""

from __future__ import annotations

import abc
import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import torch
from pydantic.fields import FieldInfo
from torch import Tensor, nn

from harness.config import parse
from harness.data import Batch, Facts, Part
from harness.data.pictures import Picture
from harness.errors import HarnessError
from harness.randomness import Streams, derive_seed, seeded
from harness.registry import Registry, first_line
from harness.systems.config import TrainConfig
from harness.systems.layers import RandomLayer
from harness.systems.memory import keep_freed_memory
from harness.systems.precision import InBFloat16, Precision

C = TypeVar("C", bound=TrainConfig)
S = TypeVar("S", bound="System[Any]")
Builders: TypeAlias = Mapping[str, Callable[[], nn.Module]]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A chart of training, drawn from what `System.step` measures.

    Attributes:
        title: What stands above it.
        unit: What its axis counts, e.g. "nats".
        curves: Key that `step` returns -> what the line is called.
    """

    title: str
    unit: str
    curves: Mapping[str, str]


class System(abc.ABC, Generic[C]):
    """Networks, their optimisers and random streams, changed in place by `step`.

    A system says what it is made of; checkpoints, records, exports and reports follow from that.

    Args:
        config: Its settings.
        facts: The data that its networks are built for.
        device: Where everything lives.
        precision: Of training's matrix products; `in_precision` sees to it.

    Attributes:
        Config: The class of its settings.
        streams: Names of its random streams, beside those of initialisation.
        networks: By name, in training mode.
        optimizers: By name.
        buffers: What else training changes, by name: tensors on the device.
        counts: Updates so far, by unit of budget.

    Raises:
        HarnessError: The settings do not fit the data.
    """

    Config: ClassVar[type[TrainConfig]]
    streams: ClassVar[tuple[str, ...]] = ("latents", "dropout")

    def __init__(
        self, config: C, facts: Facts, device: torch.device, precision: Precision = "float32"
    ) -> None:
        config.check(facts)
        self.config = config
        self.facts = facts
        self.device = device
        self.precision = precision
        self.random = Streams(config.seed, self.streams, device)
        self.networks: dict[str, nn.Module] = {}
        for name, build in self.builders(config, facts).items():
            with seeded(derive_seed(config.seed, name)):
                self.networks[name] = build().to(device).train()
        for network in self.networks.values():
            for module in network.modules():
                if isinstance(module, RandomLayer):
                    module.generator = self.random["dropout"]
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.buffers: dict[str, Tensor] = {}
        self.counts = dict.fromkeys(config.units, 0)
        keep_freed_memory()

    @classmethod
    @abc.abstractmethod
    def builders(cls, config: C, facts: Facts) -> Builders:
        """Return what builds each network; called under a seed of the network's own."""

    @abc.abstractmethod
    def step(self, take: Callable[[], Batch], done: float) -> dict[str, Tensor]:
        """Run one iteration.

        Args:
            take: Returns a fresh batch of real images; every iteration takes equally many.
            done: Spent share of the budget in [0, 1), for schedules.

        Returns:
            Scalars on the device, by the keys that `panels` and records use; nothing is read back.
        """

    @classmethod
    def sampled(cls, config: C) -> str:
        """Return the name of the network that is scored, drawn and exported."""
        return "generator"

    @classmethod
    def returning(cls, config: C) -> str | None:
        """Return the network that takes samples back to the domain that they were made from.

        It is scored and exported too, in its own direction. None where nothing leads back.
        """
        return None

    @classmethod
    def period(cls, config: C) -> int:
        """Return after how many iterations their costs repeat; 1: every one costs the same."""
        return 1

    @classmethod
    def panels(cls, config: C) -> tuple[Panel, ...]:
        """Return the charts of training; none by default."""
        return ()

    @classmethod
    def pictures(cls, config: C) -> Mapping[str, str]:
        """Return the pictures that `draw` makes: key -> what one shows, e.g. "styles mixed"."""
        return {}

    def draw(self, real: Part, *, final: bool) -> Mapping[str, Picture]:
        """Return pictures of its own, by their keys; beside the samples, which all systems show.

        Called at every milestone, also before training, with all networks in eval mode. Nothing
        that training draws from may be touched.

        Args:
            real: Held-out samples, on the CPU, with their counterpart where there are two domains.
            final: Whether the run has ended.
        """
        return {}

    @classmethod
    def draw_inputs(
        cls,
        config: C,
        facts: Facts,
        num: int,
        generator: torch.Generator,
        label: int | None = None,
        sources: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Return inputs of the sampled network on the CPU: latents (num, latent_dim) ~ N(0, I).

        A system that translates images takes the first `num` of `sources` instead, and so does the
        network that leads back.

        Args:
            config: The system's settings.
            facts: What its networks were built for.
            num: Number of samples.
            generator: Where they are drawn from.
            label: The class that all of them are of; None: any.
            sources: Images to translate, (N, C, H, W) uint8 with N >= num.

        Raises:
            HarnessError: A class is given, and samples of a chosen class are not what it makes.
        """
        refuse_label(config, label)
        # A system whose inputs are others says so.
        return (torch.randn(num, config.latent_dim, generator=generator),)  # type: ignore[attr-defined]

    @classmethod
    def asked_classes(cls, config: C, inputs: tuple[Tensor, ...]) -> Tensor | None:
        """Return the classes (N,) int64 that inputs ask for; None where they ask for none."""
        return None

    @classmethod
    def sources(cls, config: C) -> dict[str, str]:
        """Return key of a setting -> SHA-256 of the weights that it names, for the record."""
        return {}

    @classmethod
    def num_parameters(cls, config: C, facts: Facts) -> dict[str, int]:
        """Return the number of weights of every network that is trained; none is allocated."""
        with torch.device("meta"):
            networks = {name: build() for name, build in cls.builders(config, facts).items()}
        numbers = {
            name: sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
            for name, network in networks.items()
        }
        return {name: number for name, number in numbers.items() if number}

    def in_precision(self, network: nn.Module) -> Callable[..., Tensor]:
        """Return a network as `step` calls it: in the run's precision, with float32 results.

        To call the network itself is to compute in float32, as double differentiation needs.
        """
        return InBFloat16(network) if self.precision == "bfloat16" else network

    def is_finite(self) -> bool:
        """Return whether all weights are finite (reads back from the device)."""
        weights = [p for network in self.networks.values() for p in network.parameters()]
        return bool(torch.stack([weight.isfinite().all() for weight in weights]).all())

    def state_dict(self) -> dict[str, Any]:
        """Return all that a bit-exact continuation needs."""
        return {
            "networks": {name: each.state_dict() for name, each in self.networks.items()},
            "optimizers": {name: each.state_dict() for name, each in self.optimizers.items()},
            "buffers": dict(self.buffers),
            "streams": self.random.state_dict(),
            "counts": dict(self.counts),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name, network in self.networks.items():
            network.load_state_dict(saved["networks"][name])
        for name, optimizer in self.optimizers.items():
            # Optimisers keep and change the tensors that they are given.
            optimizer.load_state_dict(copy.deepcopy(saved["optimizers"][name]))
        for name, buffer in self.buffers.items():
            buffer.copy_(saved["buffers"][name])
        self.random.load_state_dict(saved["streams"])
        self.counts = dict(saved["counts"])


def refuse_label(config: TrainConfig, label: int | None) -> None:
    """Raise HarnessError if a class is asked of a system that makes none on demand."""
    if label is not None:
        raise HarnessError(
            f"system = {config.system!r} with these settings makes no samples of a chosen class"
        )


SYSTEMS: Registry[type[System[Any]]] = Registry("system")


def system(cls: type[S]) -> type[S]:
    """Register a system under the name that its settings give it."""
    name = cls.Config.model_fields["system"].default
    if not isinstance(name, str):
        raise TypeError(f"{cls.Config.__name__}.system needs a default, the system's name")
    SYSTEMS.add(name, cls, first_line(cls))
    return cls


DEFAULT_SYSTEM = "gan"


def system_of(settings: Mapping[str, Any]) -> type[System[Any]]:
    """Return the system that settings name; a GAN where they are silent."""
    return SYSTEMS[str(settings.get("system", DEFAULT_SYSTEM))]


def parse_config(settings: Mapping[str, Any], where: str) -> TrainConfig:
    """Return the complete config of one run (see `parse` for the errors)."""
    return parse(system_of(settings).Config, dict(settings), where)


CAME_LATER = {"average": 0, "g_norm_after": False}


def as_recorded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a record, with those that it is too old to name as they were then."""
    fields = system_of(settings).Config.model_fields
    return {key: value for key, value in CAME_LATER.items() if key in fields} | dict(settings)


def known_settings() -> dict[str, FieldInfo]:
    """Return every setting of any system by its key."""
    return {
        key: field for name in SYSTEMS for key, field in SYSTEMS[name].Config.model_fields.items()
    }

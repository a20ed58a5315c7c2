"""Fixtures shared by all tests."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from harness.config import Count
from harness.data import Batch, Facts, Part, load_dataset, to_uint8
from harness.data.pictures import Picture, image_grid
from harness.errors import HarnessError
from harness.plugins import load_plugins
from harness.systems import SYSTEMS, Precision, System, TrainConfig, system

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

TINY_STUDY = """
question = "Is the hinge loss better?"
dataset = "digits"
[fixed]
architecture = "mlp"
latent_dim = 4
batch_size = 16
g_width = 4
d_width = 4
g_depth = 1
d_depth = 1
[compare]
loss = ["non_saturating", "hinge"]
[space]
g_lr = { low = 1e-4, high = 1e-1, log = true }
[search]
trials_per_arm = 2
[confirm]
seeds = 2
[budget]
images = 320
[evaluate]
times = 2
samples = 64
"""


class Said(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tests run side by side; one thread each is both quicker and reproducible."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_settings() -> dict[str, Any]:
    """Return the settings of a GAN that trains in no time."""
    settings: dict[str, Any] = tomllib.loads(TINY_STUDY)["fixed"]
    return settings


@pytest.fixture(scope="session")
def tiny_study() -> str:
    """Return the text of a study file with these settings: two arms, eight runs."""
    return TINY_STUDY


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Return a function that runs `harness …` in this process."""
    import harness.cli

    def call(*arguments: object) -> Said:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            harness.cli.main()
        return Said(int(ended.value.code or 0), *capfd.readouterr())

    return call


class StampConfig(TrainConfig):
    system: str = "stamp"
    latent_dim: Count = 2
    conditional: bool = True
    """Whether a class can be asked for."""


class StampNet(nn.Module):
    """A picture per class, made brighter or darker by the first latent."""

    def __init__(self, facts: Facts) -> None:
        super().__init__()
        self.pictures = nn.Parameter(torch.zeros(facts.num_classes, *facts.sample_shape))

    def forward(self, latents: Tensor, classes: Tensor | None = None) -> Tensor:
        chosen = self.pictures.mean(0) if classes is None else self.pictures[classes]
        return (chosen + 0.1 * latents[:, :1, None, None]).clamp(-1, 1)


class Stamp(System[StampConfig]):
    """Learns each class's mean picture; its moving average is what is sampled."""

    Config = StampConfig

    def __init__(
        self,
        config: StampConfig,
        facts: Facts,
        device: torch.device,
        precision: Precision = "float32",
    ) -> None:
        super().__init__(config, facts, device, precision)
        self.networks["average"].load_state_dict(self.networks["generator"].state_dict())

    @classmethod
    def builders(cls, config: StampConfig, facts: Facts) -> Any:
        net: Callable[[], nn.Module] = lambda: StampNet(facts)  # noqa: E731
        return {"generator": net, "average": net, "critic": lambda: nn.Linear(3, 1)}

    @classmethod
    def sampled(cls, config: StampConfig) -> str:
        return "average"

    @classmethod
    def draw_inputs(
        cls,
        config: StampConfig,
        facts: Facts,
        num: int,
        generator: torch.Generator,
        label: int | None = None,
        sources: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        if not config.conditional:
            return super().draw_inputs(config, facts, num, generator, label)
        latents = torch.randn(num, config.latent_dim, generator=generator)
        classes = torch.randint(facts.num_classes, (num,), generator=generator)
        return latents, classes if label is None else torch.full_like(classes, label)

    @classmethod
    def asked_classes(cls, config: StampConfig, inputs: tuple[Tensor, ...]) -> Tensor | None:
        return inputs[1] if config.conditional else None

    @torch.no_grad()
    def step(self, take: Callable[[], Batch], done: float) -> dict[str, Tensor]:
        batch = take()
        assert batch.labels is not None
        (pictures,), (averages,) = (
            list(self.networks[name].parameters()) for name in ("generator", "average")
        )
        for label in batch.labels.unique():
            of_class = batch.images[batch.labels == label].mean(0)
            pictures[label] += 0.2 * (of_class - pictures[label])
        averages += 0.2 * (pictures - averages)
        self.counts["steps"] += 1
        return {"loss": (pictures - averages).square().mean()}

    @classmethod
    def pictures(cls, config: StampConfig) -> Mapping[str, str]:
        return {"learned": "what was learned of each class", "ended": "the same, at the end only"}

    def draw(self, real: Part, *, final: bool) -> Mapping[str, Picture]:
        assert not any(network.training for network in self.networks.values())
        assert not real.images.is_floating_point()
        learned = image_grid(to_uint8(self.networks["average"].pictures.detach()))
        return {"learned": learned} | ({"ended": learned} if final else {})


@pytest.fixture
def stamp(monkeypatch: pytest.MonkeyPatch) -> type[Stamp]:
    """Register a small class-conditional system for the length of a test."""
    monkeypatch.setattr(SYSTEMS, "_entries", dict(SYSTEMS._entries))
    monkeypatch.setattr(SYSTEMS, "_descriptions", dict(SYSTEMS._descriptions))
    return system(Stamp)


@pytest.fixture
def add_preset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Return a function that makes a preset; none that ship are found beside these."""
    folder = tmp_path / "presets"
    folder.mkdir()
    monkeypatch.setattr("harness.study.presets.FOLDER", folder)

    def add(name: str, /, **content: Any) -> None:
        preset = {"description": f"System {name}", "settings": {}} | content
        lines = [f"{key} = {_toml(value)}" for key, value in preset.items()]
        (folder / f"{name}.toml").write_text("\n".join(lines))

    return add


def _toml(value: Any) -> str:
    """Spell a value; lists, numbers and strings are spelt as in JSON."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """Return a folder with the real MNIST files, or skip."""
    data_dir = Path(os.environ.get("HARNESS_DATA", "data"))
    try:
        load_dataset("mnist", data_dir)
    except HarnessError as error:
        pytest.skip(str(error))
    return data_dir


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the conformance suites test what a plugin registers."""
    parser.addoption("--plugin", action="append", default=[], help="file or module; repeatable")


def pytest_configure(config: pytest.Config) -> None:
    """Load plugins before the suites ask what is registered."""
    load_plugins(config.getoption("--plugin"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a CUDA device where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))

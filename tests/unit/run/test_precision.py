"""The choice of a precision: forced either way, and what each refusal says."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import harness.run.precision
from harness.data import Batch, Facts, Part
from harness.run.precision import Choice, choose_precision, has_bfloat16_units, layer_errors
from harness.systems import Precision, TrainConfig
from harness.systems.architectures import ARCHITECTURES
from harness.systems.gan import GAN, GANConfig

CPU = torch.device("cpu")
FACTS = Facts(sample_shape=(1, 8, 8))


@dataclass(frozen=True)
class Bench:
    """As much of a bench as the choice looks at."""

    device: torch.device = CPU
    precision: Precision = "float32"
    part: Part = field(
        default_factory=lambda: Part(
            images=torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8), labels=None
        )
    )

    def start(self, config: TrainConfig) -> GAN:
        assert isinstance(config, GANConfig)
        return GAN(config, FACTS, self.device, self.precision)


class Wrong(nn.Linear):
    """A layer whose results in bfloat16 are not those in float32."""

    def forward(self, input: Tensor) -> Tensor:
        factor = 1.05 if input.dtype == torch.bfloat16 else 1.0
        return super().forward(input) * factor


class Skewed(nn.Linear):
    """A layer whose weights' gradients in bfloat16 are not those in float32."""

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight
        if input.dtype == torch.bfloat16:
            weight = 1.05 * weight - 0.05 * weight.detach()
        return nn.functional.linear(input, weight.to(input.dtype), self.bias.to(input.dtype))


class Crooked(nn.Linear):
    """A layer whose gradients in bfloat16 are not those in float32."""

    def forward(self, input: Tensor) -> Tensor:
        output = super().forward(input)
        if input.dtype == torch.bfloat16:
            return 1.05 * output - 0.05 * output.detach()
        return output


def config(**changes: Any) -> TrainConfig:
    small = {"g_width": 4, "d_width": 4, "latent_dim": 4, "batch_size": 8, "architecture": "mlp"}
    small |= {"average": 0, "g_norm_after": False, "d_dropout": 0.0, "d_norm": "none"}
    return GANConfig.model_validate({"dataset": "digits"} | small | changes)


def choose(asked: Any = "auto", bench: Any = Bench(), **configs: TrainConfig) -> Choice:
    runs = {arm: [each] for arm, each in (configs or {"mlp": config()}).items()}
    return choose_precision(asked, runs, bench)


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand on a processor with units, where bfloat16 is twice as fast."""
    monkeypatch.setattr(harness.run.precision, "has_bfloat16_units", lambda: True)
    monkeypatch.setattr(harness.run.precision, "_speedup", lambda config, bench: 2.0)


@pytest.fixture
def architecture() -> Iterator[Callable[[type[nn.Linear]], str]]:
    """Return a function that registers a pair with a given layer at the end of D."""
    mlp = ARCHITECTURES["mlp"]

    def register(layer: type[nn.Linear]) -> str:
        def discriminator(settings: Any, shape: Any, num_outputs: int) -> nn.Module:
            net = mlp.discriminator(settings, shape, num_outputs)
            net[-1].__class__ = layer
            return net

        pair = replace(mlp, discriminator=discriminator)
        ARCHITECTURES.add("strange", pair, "for a test")
        return "strange"

    yield register
    ARCHITECTURES._entries.pop("strange", None)
    ARCHITECTURES._descriptions.pop("strange", None)


def test_what_is_asked_for_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for units in (True, False):
        monkeypatch.setattr(harness.run.precision, "has_bfloat16_units", lambda units=units: units)
        assert str(choose("float32")) == "float32: precision = 'float32'"
        said = str(choose("bfloat16"))
        assert said.startswith("bfloat16: precision = 'bfloat16'")
        assert ("may be very slow" in said) is not units


def test_a_processor_without_units_stays_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "amx_tile": True})
    assert not has_bfloat16_units()
    choice = choose()
    assert choice.precision == "float32"
    assert str(choice) == "float32: this processor has no avx512_bf16 or amx_bf16"


@pytest.mark.parametrize("unit", ["avx512_bf16", "amx_bf16"])
def test_units_are_seen(monkeypatch: pytest.MonkeyPatch, unit: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, unit: True})
    assert has_bfloat16_units()


def test_bfloat16_is_taken_where_every_arm_passes(
    fit: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = choose(mlp=config(), dc=config(architecture="dc"))
    assert choice.precision == "bfloat16"
    right, fast = choice.reason.split(", ")
    assert right == "every layer is right to 2%"
    assert fast == "steps are 2.0 to 2.0 times as fast as in float32"
    monkeypatch.setattr(
        harness.run.precision,
        "_speedup",
        lambda config, bench: 0.9 if config.architecture == "dc" else 3.0,
    )
    choice = choose(mlp=config(), dc=config(architecture="dc"))
    assert choice == Choice(
        precision="float32", reason="dc: a step in bfloat16 is 0.90 times as fast"
    )
    assert choose(mlp=config()).precision == "bfloat16"


@pytest.mark.parametrize(
    ("layer", "what"),
    [
        (Wrong, "output"),
        (Crooked, "gradient of its input"),
        (Skewed, "gradient of its weight"),
    ],
)
@pytest.mark.parametrize("norm", ["none", "spectral"])
def test_a_layer_that_is_wrong_in_bfloat16_is_named(
    fit: None,
    architecture: Callable[[type[nn.Linear]], str],
    layer: type[nn.Linear],
    what: str,
    norm: str,
) -> None:
    choice = choose(strange=config(architecture=architecture(layer), d_norm=norm))
    assert choice.precision == "float32"
    assert choice.reason.startswith("strange: discriminator.7's")
    assert what in choice.reason
    assert re.search(r"is wrong by (4\.[5-9]|5\.[0-5])% in bfloat16$", choice.reason)


def test_a_step_that_fails_is_left_to_its_runs(fit: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(GAN, "step", fail)
    assert choose() == Choice(precision="float32", reason="mlp: a step fails with RuntimeError")


def test_other_devices_stay_in_float32(fit: None) -> None:
    assert choose(bench=Bench(device=torch.device("cuda"))) == Choice(
        precision="float32", reason="bfloat16 is not judged on cuda"
    )


def test_speed_is_how_many_times_as_fast_bfloat16_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(self: GAN, *_: Any) -> dict[str, Tensor]:
        time.sleep(0.03 if self.precision == "float32" else 0.01)
        return {}

    monkeypatch.setattr(GAN, "step", slow)
    ratio = harness.run.precision._speedup(config(), Bench())  # type: ignore[arg-type]
    assert 1.5 < ratio < 6


def test_every_shape_of_an_arm_is_checked(
    fit: None, architecture: Callable[[type[nn.Linear]], str]
) -> None:
    runs = {"arm": [config(), config(batch_size=6, architecture=architecture(Wrong))]}
    assert choose_precision("auto", runs, Bench()).precision == "float32"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "dc", "g_width": 16, "d_width": 16},
        {"d_norm": "spectral", "g_norm": "layer"},
        {"architecture": "dc", "d_norm": "spectral"},
        {"penalty": "r1", "d_norm": "layer", "d_dropout": 0.2},
        {"d_norm": "batch", "d_steps": 2},
        {"loss": "relativistic_average"},
        {"architecture": "dc", "g_attention": True, "d_attention": True},
        {"architecture": "dc", "g_residual": 1, "d_residual": 1, "d_norm": "batch"},
    ],
    ids=str,
)
def test_all_layers_of_all_kinds_are_looked_at_and_right(changes: dict[str, Any]) -> None:
    system = GAN(config(**changes), FACTS, torch.device("cpu"), "bfloat16")
    images = torch.rand(8, 1, 8, 8) * 2 - 1
    errors = dict(layer_errors(system, lambda: Batch(images=images, labels=None)))
    assert max(errors.values()) < harness.run.precision.LARGEST_ERROR
    for network, module in system.networks.items():
        for name, layer in module.named_modules():
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                place = f"{network}.{name}"
                assert f"{place}'s output" in errors
                assert f"{place}'s gradient of its weight" in errors
                assert layer.bias is None or f"{place}'s gradient of its bias" in errors
        assert sum(each.startswith(network) and "its input" in each for each in errors) >= 3


def test_a_float32_step_is_not_mistaken_for_one_in_bfloat16() -> None:
    system = GAN(config(), FACTS, torch.device("cpu"), "float32")
    images = torch.rand(8, 1, 8, 8) * 2 - 1
    assert list(layer_errors(system, lambda: Batch(images=images, labels=None))) == []

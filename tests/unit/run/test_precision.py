"""The choice of a precision: forced either way, and what each refusal says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import harness.run.precision
from harness.data import Batch, Facts, Part
from harness.run.precision import Choice, choose_precision, has_bfloat16_units, layer_errors
from harness.systems import TrainConfig
from harness.systems.gan import GAN, GANConfig
from harness.systems.gan.architectures import ARCHITECTURES, Architecture

FACTS = Facts(sample_shape=(1, 8, 8))


class Bench:
    """As much of a bench as the choice looks at."""

    class dataset:
        facts = FACTS

    part = Part(images=torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8), labels=None)
    device = torch.device("cpu")


class Wrong(nn.Linear):
    """A layer whose results in bfloat16 are not those in float32."""

    def forward(self, input: Tensor) -> Tensor:
        factor = 1.05 if input.dtype == torch.bfloat16 else 1.0
        return super().forward(input) * factor


class Crooked(nn.Linear):
    """A layer whose gradients in bfloat16 are not those in float32."""

    def forward(self, input: Tensor) -> Tensor:
        output = super().forward(input)
        if input.dtype == torch.bfloat16:
            return 1.05 * output - 0.05 * output.detach()
        return output


def config(**changes: Any) -> TrainConfig:
    small = {"g_width": 4, "d_width": 4, "latent_dim": 4, "batch_size": 8, "architecture": "mlp"}
    return GANConfig.model_validate({"dataset": "digits"} | small | changes)


def choose(asked: Any = "auto", bench: Any = Bench, **configs: TrainConfig) -> Choice:
    return choose_precision(asked, configs or {"mlp": config()}, bench)


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
        def discriminator(settings: Any, shape: Any) -> nn.Module:
            net = mlp.discriminator(settings, shape)
            net[-1].__class__ = layer
            return net

        pair = Architecture(
            generator=mlp.generator,
            discriminator=discriminator,
            defaults=mlp.defaults,
            complaint=mlp.complaint,
        )
        ARCHITECTURES.add("strange", pair, "for a test")
        return "strange"

    yield register
    ARCHITECTURES._entries.pop("strange", None)
    ARCHITECTURES._descriptions.pop("strange", None)


def test_what_is_asked_for_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness.run.precision, "has_bfloat16_units", lambda: False)
    for asked in ("float32", "bfloat16"):
        assert choose(asked) == Choice(precision=asked, reason="as asked for")


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


@pytest.mark.parametrize(("layer", "what"), [(Wrong, "output"), (Crooked, "gradient of its input")])
def test_a_layer_that_is_wrong_in_bfloat16_is_named(
    fit: None, architecture: Callable[[type[nn.Linear]], str], layer: type[nn.Linear], what: str
) -> None:
    choice = choose(strange=config(architecture=architecture(layer)))
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
    class OnCuda(Bench):
        device = torch.device("cuda")

    assert choose(bench=OnCuda) == Choice(
        precision="float32", reason="bfloat16 is not judged on cuda"
    )


def test_speed_is_a_ratio_of_real_steps() -> None:
    ratio = harness.run.precision._speedup(config(), Bench)  # type: ignore[arg-type]
    assert 0.01 < ratio < 100


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "dc", "g_width": 16, "d_width": 16},
        {"d_norm": "spectral", "g_norm": "layer"},
        {"architecture": "dc", "d_norm": "spectral"},
        {"penalty": "r1", "d_norm": "layer", "d_dropout": 0.2},
        {"d_norm": "batch", "d_steps": 2},
        {"loss": "relativistic_average"},
    ],
    ids=str,
)
def test_all_layers_of_all_kinds_are_looked_at_and_right(changes: dict[str, Any]) -> None:
    system = GAN(config(**changes), FACTS, torch.device("cpu"), "bfloat16")
    images = torch.rand(8, 1, 8, 8) * 2 - 1
    errors = dict(layer_errors(system, lambda: Batch(images=images, labels=None)))
    assert max(errors.values()) < harness.run.precision.LARGEST_ERROR
    for network in ("generator", "discriminator"):
        outputs = {place for place in errors if place.startswith(network) and "output" in place}
        layers = [
            layer
            for layer in system.networks[network].modules()
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
        ]
        assert len(outputs) >= len(layers)


def test_a_float32_step_is_not_mistaken_for_one_in_bfloat16() -> None:
    system = GAN(config(), FACTS, torch.device("cpu"), "float32")
    images = torch.rand(8, 1, 8, 8) * 2 - 1
    assert list(layer_errors(system, lambda: Batch(images=images, labels=None))) == []

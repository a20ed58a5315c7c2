"""Generators as files that others load, and images drawn from them."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from harness.config import parse
from harness.data import Facts
from harness.errors import HarnessError
from harness.randomness import seeded
from harness.systems import load_generator, load_network, save_generator
from harness.systems.architectures import ARCHITECTURES
from harness.systems.gan import GANConfig
from harness.systems.generator import SPEC_FILE, WEIGHTS_FILE, generator_files
from harness.systems.layers import NORMS
from harness.systems.pairs import build_generator

FACTS = Facts(sample_shape=(1, 16, 16), num_classes=10)
SMALL = {
    "dataset": "digits",
    "latent_dim": 5,
    "g_width": 4,
    "g_norm_after": False,
    "average": 0,
}


def make(**settings: Any) -> tuple[nn.Module, GANConfig]:
    """Return a generator whose every parameter and buffer has left its initial value."""
    config = parse(GANConfig, SMALL | settings, "test")
    with seeded(0):
        generator = build_generator(config, FACTS)
        for parameter in generator.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
        generator.train()
        for _ in range(3):
            generator(torch.randn(8, config.latent_dim))
    return generator, config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an exported generator."""
    generator, config = make(architecture="mlp", g_depth=1, g_norm="batch")
    save_generator(tmp_path / "export", generator, config, FACTS)
    return tmp_path / "export"


def rewrite(folder: Path, **changes: Any) -> None:
    """Change keys of the description; those of `config` one by one."""
    spec = json.loads((folder / SPEC_FILE).read_text())
    changes["config"] = spec["config"] | changes.get("config", {})
    (folder / SPEC_FILE).write_text(json.dumps(spec | changes))


def downgrade(folder: Path, **changes: Any) -> None:
    """Put a description of version 1 in place, as exports had it before systems had names."""
    spec = json.loads((folder / SPEC_FILE).read_text())
    config, (channels, height, width) = spec["config"], spec["sample_shape"]
    keys = ("architecture", "latent_dim", "g_width", "g_depth", "g_norm", "g_activation")
    old = {
        "format": "gan-ablation-harness generator v1",
        "channels": channels,
        "height": height,
        "width": width,
        "weights_sha256": spec["weights_sha256"],
        **{key: config[key] for key in (*keys, "g_dropout")},
    }
    (folder / SPEC_FILE).write_text(json.dumps(old | changes))


def replace_weights(folder: Path, payload: bytes) -> None:
    """Put other weights in place, with a matching hash."""
    (folder / WEIGHTS_FILE).write_bytes(payload)
    rewrite(folder, weights_sha256=hashlib.sha256(payload).hexdigest())


def refusal(folder: Path) -> str:
    with pytest.raises(HarnessError) as caught:
        load_generator(folder)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


# Generators.


@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
@pytest.mark.parametrize("norm", list(NORMS))
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_generator_survives_bit_for_bit(
    tmp_path: Path, architecture: str, norm: str, dropout: float
) -> None:
    original, config = make(architecture=architecture, g_norm=norm, g_dropout=dropout)
    try:
        config.check(FACTS)
    except HarnessError as refused:
        pytest.skip(str(refused))
    spec = save_generator(tmp_path / "new" / "export", original, config, FACTS)
    loaded, read = load_generator(tmp_path / "new" / "export")
    assert read == spec
    assert read.facts == FACTS
    assert read.config == config.model_dump(mode="json")
    assert not loaded.training
    before, after = original.state_dict(), loaded.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)
    (latents,) = read.draw_inputs(6, seed=1)
    assert latents.shape == (6, 5)
    expected = original.eval()(latents)
    assert torch.equal(loaded(latents), expected)
    assert expected.shape == (6, *FACTS.sample_shape)
    assert expected.std() > 0
    assert torch.equal(loaded(latents), expected)  # sampling changes nothing


def test_the_export_is_on_the_cpu_and_in_one_piece(folder: Path) -> None:
    assert sorted(file.name for file in folder.iterdir()) == [SPEC_FILE, WEIGHTS_FILE]
    spec = json.loads((folder / SPEC_FILE).read_text())
    assert spec["format"] == "gan-ablation-harness generator v2"
    digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    assert spec["weights_sha256"] == digest
    assert not load_generator(folder)[0].training


def test_saving_leaves_the_generator_as_it_is(tmp_path: Path) -> None:
    generator, config = make(architecture="dc")
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    save_generator(tmp_path, generator, config, FACTS)
    assert generator.training
    after = generator.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_loading_leaves_the_global_random_state_alone(folder: Path) -> None:
    before = torch.random.get_rng_state()
    load_generator(folder)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", [SPEC_FILE, WEIGHTS_FILE])
def test_missing_files(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert refusal(folder) == f"{folder} is not an exported generator: {name} is missing"


def test_a_missing_folder(tmp_path: Path) -> None:
    assert "is not an exported generator" in refusal(tmp_path / "none")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"format": }'])
def test_a_description_that_is_no_json(folder: Path, content: bytes) -> None:
    (folder / SPEC_FILE).write_bytes(content)
    assert refusal(folder) == f"{folder / SPEC_FILE} is not valid JSON"


@pytest.mark.parametrize("content", ["[]", "3", "null", "{}", '{"model": "gpt"}'])
def test_somebody_elses_json(folder: Path, content: str) -> None:
    (folder / SPEC_FILE).write_text(content)
    assert refusal(folder).startswith(f"{folder / SPEC_FILE}: ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "gan-ablation-harness generator v9"}, "format = "),
        ({"config": {"system": "gen"}}, "unknown system 'gen'; did you mean 'gan'?"),
        ({"config": {"architecture": "dcc"}}, "unknown architecture 'dcc'; did you mean 'dc'?"),
        ({"config": {"g_activation": "rulu"}}, "unknown activation 'rulu'; did you mean 'relu'?"),
        ({"config": {"g_norm": "bach"}}, "'bach'"),
        ({"config": {"latent_dim": "5"}}, "latent_dim = '5': "),
        ({"config": {"latent_dim": 0}}, "latent_dim"),
        ({"config": {"latent_dim": -1}}, "latent_dim"),
        ({"sample_shape": [1, -16, 16]}, "sample_shape"),
        ({"sample_shape": [16, 16]}, "sample_shape"),
        ({"config": {"g_depth": 0}}, "g_depth"),
        ({"config": {"g_depth": -1}}, "g_depth"),
        ({"config": {"g_dropout": 2.0}}, "g_dropout"),
        ({"config": {"extra": 1}}, "unknown key 'extra'"),
        ({"extra": 1}, "unknown key 'extra'"),
    ],
    ids=str,
)
def test_a_description_that_describes_nothing(
    folder: Path, changes: dict[str, Any], words: str
) -> None:
    rewrite(folder, **changes)
    assert words in refusal(folder)


# Of version 1.


@pytest.mark.parametrize("architecture", ["mlp", "dc"])
@pytest.mark.parametrize("norm", ["none", "batch", "layer", "spectral"])  # all that there were
def test_an_export_of_version_1_is_still_read(tmp_path: Path, architecture: str, norm: str) -> None:
    settings = {"g_activation": "silu", "g_depth": 2, "g_dropout": 0.3}
    original, config = make(architecture=architecture, g_norm=norm, **settings)
    save_generator(tmp_path, original, config, FACTS)
    expected, spec = load_generator(tmp_path)
    downgrade(tmp_path)
    loaded, old = load_generator(tmp_path)
    assert (old.facts.sample_shape, old.weights_sha256) == (FACTS.sample_shape, spec.weights_sha256)
    assert not loaded.training
    before, after = original.state_dict(), loaded.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)
    (latents,) = spec.draw_inputs(6, seed=1)
    (same_latents,) = old.draw_inputs(6, seed=1)
    assert torch.equal(latents, same_latents)
    assert torch.equal(loaded(latents), expected(latents))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "gan-ablation-harness generator v0"}, ""),
        ({"architecture": "dcc"}, "unknown architecture 'dcc'; did you mean 'dc'?"),
        ({"g_activation": "rulu"}, "unknown activation 'rulu'; did you mean 'relu'?"),
        ({"g_norm": "bach"}, "'bach'"),
        ({"latent_dim": "5"}, "latent_dim = '5': "),
        ({"latent_dim": 0}, "latent_dim"),
        ({"height": -16}, ""),
        ({"channels": None}, ""),
        ({"g_depth": -1}, "g_depth"),
        ({"g_dropout": 2.0}, ""),
        ({"latent_dim": 6}, f"does not fit {SPEC_FILE}"),
        ({"channels": 3}, f"does not fit {SPEC_FILE}"),
        ({"weights_sha256": "0" * 64}, "is damaged"),
    ],
    ids=str,
)
def test_a_description_of_version_1_that_describes_nothing(
    folder: Path, changes: dict[str, Any], words: str
) -> None:
    downgrade(folder, **changes)
    assert words in refusal(folder)


# Weights.


@pytest.mark.parametrize("position", [0, 8, 100, -1])
def test_a_flipped_bit_in_the_weights(folder: Path, position: int) -> None:
    payload = bytearray((folder / WEIGHTS_FILE).read_bytes())
    payload[position] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(payload)
    assert refusal(folder) == f"{folder / WEIGHTS_FILE} is damaged: its SHA-256 is not that in " + (
        SPEC_FILE
    )


@pytest.mark.parametrize("length", [0, 4, 50, -1])
def test_weights_cut_short(folder: Path, length: int) -> None:
    payload = (folder / WEIGHTS_FILE).read_bytes()[:length]
    (folder / WEIGHTS_FILE).write_bytes(payload)
    assert "is damaged" in refusal(folder)
    replace_weights(folder, payload)
    assert f"does not fit {SPEC_FILE}" in refusal(folder)


@pytest.mark.parametrize("other", [{"g_width": 3}, {"g_depth": 2}, {"g_norm": "none"}])
def test_weights_of_another_network(folder: Path, other: dict[str, Any]) -> None:
    generator, _ = make(**{"architecture": "mlp", "g_depth": 1, "g_norm": "batch", **other})
    replace_weights(folder, safetensors.torch.save(generator.state_dict()))
    assert f"does not fit {SPEC_FILE}" in refusal(folder)


@pytest.mark.parametrize(
    "other",
    [
        {"config": {"architecture": "dc"}},
        {"config": {"latent_dim": 6}},
        {"sample_shape": [3, 16, 16]},
    ],
)
def test_a_description_of_another_network(folder: Path, other: dict[str, Any]) -> None:
    rewrite(folder, **other)
    assert f"does not fit {SPEC_FILE}" in refusal(folder)


class Trap:
    """An object whose unpickling leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_the_trap_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("archive", [True, False], ids=["torch", "pickle"])
def test_loading_a_generator_executes_no_pickled_code(
    folder: Path, tmp_path: Path, archive: bool
) -> None:
    mark, file = tmp_path / "mark", tmp_path / "evil.pt"
    if archive:
        torch.save({"weight": Trap(mark)}, file)
    else:
        file.write_bytes(pickle.dumps(Trap(mark)))
    replace_weights(folder, file.read_bytes())
    assert f"does not fit {SPEC_FILE}" in refusal(folder)
    assert not mark.exists()


# Other networks beside it.


def test_exports_that_name_no_other_networks_are_read(folder: Path) -> None:
    spec = json.loads((folder / SPEC_FILE).read_text())
    assert spec.pop("others") == {}
    (folder / SPEC_FILE).write_text(json.dumps(spec))
    expected = load_generator(folder)[0].state_dict()
    assert load_generator(folder)[1].others == {}
    weights = load_network(folder, "generator")
    assert all(torch.equal(weights[key], expected[key]) for key in expected)
    with pytest.raises(HarnessError, match="no network 'discriminator', only generator"):
        load_network(folder, "discriminator")
    assert generator_files(folder) == {SPEC_FILE, WEIGHTS_FILE}
    downgrade(folder)
    assert sorted(load_network(folder, "generator")) == sorted(expected)
    assert generator_files(folder) == {SPEC_FILE, WEIGHTS_FILE}


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"others": 3}', b'{"others": [1]}'])
def test_files_of_a_folder_that_describes_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SPEC_FILE).write_bytes(content)
    assert {SPEC_FILE, WEIGHTS_FILE} <= generator_files(tmp_path)

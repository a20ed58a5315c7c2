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
from torch import Tensor, nn

from harness.config import parse
from harness.data import Facts
from harness.errors import HarnessError
from harness.randomness import seeded
from harness.systems import (
    System,
    TrainConfig,
    draw_inputs,
    generate,
    is_conditional,
    load_generator,
    load_network,
    save_generator,
)
from harness.systems.architectures import ARCHITECTURES
from harness.systems.gan import GANConfig
from harness.systems.generator import (
    RAW_FILE,
    SAMPLES_PER_PASS,
    SPEC_FILE,
    WEIGHTS_FILE,
    generator_files,
    network_file,
)
from harness.systems.layers import NORMS

FACTS = Facts(sample_shape=(1, 8, 8), num_classes=10)
SMALL = {"dataset": "digits", "latent_dim": 5, "g_width": 4, "g_depth": 1}


def make(**settings: Any) -> tuple[nn.Module, GANConfig]:
    """Return a generator whose every parameter and buffer has left its initial value."""
    config = parse(GANConfig, SMALL | settings, "test")
    with seeded(0):
        build = ARCHITECTURES[config.architecture].generator
        generator = build(config.g_settings, config.latent_dim, FACTS.sample_shape)
        for parameter in generator.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
        generator.train()
        for _ in range(3):
            generator(torch.randn(8, config.latent_dim))
    return generator, config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an exported generator."""
    generator, config = make(architecture="mlp", g_norm="batch")
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
        ({"sample_shape": [1, -8, 8]}, "sample_shape"),
        ({"sample_shape": [8, 8]}, "sample_shape"),
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


@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
@pytest.mark.parametrize("norm", list(NORMS))
def test_an_export_of_version_1_is_still_read(tmp_path: Path, architecture: str, norm: str) -> None:
    settings = {"g_activation": "silu", "g_depth": 2, "g_dropout": 0.3}
    original, config = make(architecture=architecture, g_norm=norm, **settings)
    save_generator(tmp_path, original, config, FACTS)
    expected, spec = load_generator(tmp_path)
    downgrade(tmp_path)
    loaded, old = load_generator(tmp_path)
    assert (old.facts.sample_shape, old.weights_sha256) == ((1, 8, 8), spec.weights_sha256)
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
        ({"height": -8}, ""),
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
    generator, _ = make(**{"architecture": "mlp", "g_norm": "batch", **other})
    replace_weights(folder, safetensors.torch.save(generator.state_dict()))
    assert f"does not fit {SPEC_FILE}" in refusal(folder)


@pytest.mark.parametrize(
    "other",
    [
        {"config": {"architecture": "dc"}},
        {"config": {"latent_dim": 6}},
        {"sample_shape": [3, 8, 8]},
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


# Latents and images.


def draw(num: int, latent_dim: int, seed: int) -> Tensor:
    config = parse(GANConfig, SMALL | {"latent_dim": latent_dim}, "test")
    (latents,) = draw_inputs(config, FACTS, num, seed)
    return latents


def test_latents_are_a_function_of_their_seed() -> None:
    before = torch.random.get_rng_state()
    latents = draw(100, 7, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(draw(100, 7, seed=3), latents)
    assert not torch.equal(draw(100, 7, seed=4), latents)
    assert latents.shape == (100, 7)
    assert latents.dtype == torch.float32
    assert latents.device.type == "cpu"


def test_latents_are_standard_normal() -> None:
    latents = draw(20_000, 3, seed=0)
    assert latents.mean(0).abs().max() < 0.04  # 5.6 standard errors
    assert (latents.std(0) - 1).abs().max() < 0.03
    assert torch.corrcoef(latents.T).fill_diagonal_(0).abs().max() < 0.04
    assert len(latents.unique()) > 59_000


class Echo(nn.Module):
    """Returns its latents as images (N, 1, 1, latent_dim), and counts its passes."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))
        self.passes: list[int] = []

    def forward(self, latents: Tensor) -> Tensor:
        self.passes.append(len(latents))
        return (self.gain * latents).view(len(latents), 1, 1, -1)


def test_images_are_rounded_and_clamped() -> None:
    levels = torch.tensor([[-1.0, -0.999, -0.99, 0.0, 0.99, 1.0, -7.0, 7.0]])
    images = generate(Echo(), (levels,))
    assert images.dtype == torch.uint8
    assert images.device.type == "cpu"
    # 127.5 (x + 1): 0, 0.1275, 1.275, 127.5, 253.725, 255, and beyond the ends
    assert images.flatten().tolist() == [0, 0, 1, 128, 254, 255, 0, 255]


@pytest.mark.parametrize("num", [1, 499, 500, 501, 1003])
def test_images_do_not_depend_on_how_they_are_split(num: int) -> None:
    echo = Echo()
    latents = draw(num, 4, seed=0)
    images = generate(echo, (latents,))
    assert images.shape == (num, 1, 1, 4)
    assert sum(echo.passes) == num
    assert max(echo.passes) <= SAMPLES_PER_PASS
    one_by_one = torch.cat([generate(echo, (latent[None],)) for latent in latents])
    assert torch.equal(images, one_by_one)


def test_images_of_a_network_do_not_depend_on_how_they_are_split() -> None:
    generator, _ = make(architecture="dc", g_norm="batch", g_dropout=0.3)
    generator.eval()
    latents = draw(501, 5, seed=0)
    images = generate(generator, (latents,))
    parts = torch.cat([generate(generator, (part,)) for part in latents.split([1, 400, 100])])
    assert (images.int() - parts.int()).abs().max() <= 1  # sums in another order
    assert torch.equal(generate(generator, (latents,)), images)
    assert images.float().std() > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", [0, 500])
def test_images_that_are_no_numbers(bad: float, where: int) -> None:
    latents = torch.zeros(501, 2)
    latents[where, 1] = bad
    with pytest.raises(FloatingPointError, match="not finite"):
        generate(Echo(), (latents,))


def test_images_carry_no_gradient() -> None:
    echo = Echo()
    generate(echo, (torch.zeros(3, 2),))
    assert echo.gain.grad is None


class Sum(nn.Module):
    """Adds two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return (self.gain * (first + second)).view(len(first), 1, 1, -1)


def test_several_inputs_are_split_alike() -> None:
    first, second = draw(1003, 2, seed=0) / 8, draw(1003, 2, seed=1) / 8
    images = generate(Sum(), (first, second))
    assert torch.equal(images, generate(Echo(), (first + second,)))


# Samples of a class.


def stamp_config(stamp: type[System[Any]], **settings: Any) -> TrainConfig:
    return parse(stamp.Config, {"system": "stamp", "dataset": "digits"} | settings, "test")


def test_a_class_may_be_chosen(stamp: type[System[Any]]) -> None:
    config = stamp_config(stamp)
    latents, mixed = draw_inputs(config, FACTS, 50, seed=3)
    assert len(mixed.unique()) > 5
    same_latents, classes = draw_inputs(config, FACTS, 50, seed=3, label=7)
    assert torch.equal(latents, same_latents)
    assert classes.tolist() == [7] * 50
    assert is_conditional(config, FACTS)
    assert torch.equal(stamp.asked_classes(config, (latents, mixed)), mixed)


@pytest.mark.parametrize("label", [-1, 10, 99])
def test_a_class_that_the_data_lack(stamp: type[System[Any]], label: int) -> None:
    with pytest.raises(HarnessError, match=rf"^class {label}: allowed are 0 to 9$"):
        draw_inputs(stamp_config(stamp), FACTS, 5, seed=0, label=label)


@pytest.mark.parametrize("label", [3, 99])
def test_a_class_of_a_system_that_makes_none(stamp: type[System[Any]], label: int) -> None:
    for config in (
        parse(GANConfig, SMALL, "test"),
        stamp_config(stamp, conditional=False),
    ):
        assert not is_conditional(config, FACTS)
        words = f"system = '{config.system}' with these settings makes no samples of a chosen class"
        with pytest.raises(HarnessError, match=f"^{words}$"):
            draw_inputs(config, FACTS, 5, seed=0, label=label)


def test_a_description_passes_the_class_on(stamp: type[System[Any]], tmp_path: Path) -> None:
    config = stamp_config(stamp)
    network = stamp(config, FACTS, torch.device("cpu")).networks["average"]
    spec = save_generator(tmp_path, network, config, FACTS)
    assert spec.is_conditional
    assert spec.draw_inputs(4, seed=0, label=2)[1].tolist() == [2] * 4
    with pytest.raises(HarnessError, match="allowed are 0 to 9"):
        spec.draw_inputs(4, seed=0, label=10)


# Other networks beside it.


@pytest.fixture
def whole(stamp: type[System[Any]], tmp_path: Path) -> tuple[Path, System[Any]]:
    """Return an exported system with a moving average, and the system itself."""
    made = stamp(stamp_config(stamp), FACTS, torch.device("cpu"))
    for network in made.networks.values():
        for parameter in network.parameters():
            parameter.data.normal_(generator=torch.Generator().manual_seed(len(parameter)))
    made.networks["average"].pictures.data.mul_(0.5)
    others = {name: made.networks[name] for name in ("generator", "critic")}
    save_generator(tmp_path / "whole", made.networks["average"], made.config, FACTS, others)
    return tmp_path / "whole", made


def test_every_network_is_stored_under_its_name(whole: tuple[Path, System[Any]]) -> None:
    folder, made = whole
    files = {SPEC_FILE, WEIGHTS_FILE, RAW_FILE, "critic.safetensors"}
    assert {file.name for file in folder.iterdir()} == files == generator_files(folder)
    others = json.loads((folder / SPEC_FILE).read_text())["others"]
    assert {name: network_file(name) for name in others} == {
        "generator": RAW_FILE,
        "critic": "critic.safetensors",
    }
    for name, digest in others.items():
        assert hashlib.sha256((folder / network_file(name)).read_bytes()).hexdigest() == digest
    for name, network in made.networks.items():
        weights, expected = load_network(folder, name), network.state_dict()
        assert sorted(weights) == sorted(expected)
        assert all(torch.equal(weights[key], expected[key]) for key in weights)
    loaded, spec = load_generator(folder)
    assert torch.equal(loaded.pictures, made.networks["average"].pictures)
    assert not torch.equal(loaded.pictures, made.networks["generator"].pictures)
    assert list(spec.others) == ["generator", "critic"]


def test_a_network_that_is_not_there(whole: tuple[Path, System[Any]], folder: Path) -> None:
    with pytest.raises(HarnessError) as caught:
        load_network(whole[0], "discriminator")
    assert str(caught.value) == (
        f"{whole[0]} holds no network 'discriminator', only average, generator, critic"
    )
    with pytest.raises(HarnessError, match="no network 'discriminator', only generator"):
        load_network(folder, "discriminator")


def test_damaged_files_of_other_networks(whole: tuple[Path, System[Any]]) -> None:
    folder, _ = whole
    file = folder / "critic.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(HarnessError, match=r"critic.safetensors is damaged: its SHA-256 is not"):
        load_network(folder, "critic")
    file.unlink()
    with pytest.raises(HarnessError, match=r"is incomplete: critic.safetensors is missing$"):
        load_network(folder, "critic")
    load_generator(folder)  # does without it
    with pytest.raises(HarnessError, match="is not an exported generator"):
        load_network(folder / "none", "critic")


def test_other_networks_are_read_without_executing_pickled_code(
    whole: tuple[Path, System[Any]], tmp_path: Path
) -> None:
    folder, _ = whole
    payload = pickle.dumps(Trap(tmp_path / "mark"))
    (folder / "critic.safetensors").write_bytes(payload)
    others = {"critic": hashlib.sha256(payload).hexdigest()}
    rewrite(folder, others=others)
    with pytest.raises(HarnessError, match=f"critic.safetensors does not fit {SPEC_FILE}"):
        load_network(folder, "critic")
    assert not (tmp_path / "mark").exists()


def test_a_description_names_files_beside_it_only(whole: tuple[Path, System[Any]]) -> None:
    folder, _ = whole
    rewrite(folder, others={"../critic": "0" * 64})
    assert "others" in refusal(folder)


def test_exports_that_name_no_other_networks_are_read(folder: Path) -> None:
    spec = json.loads((folder / SPEC_FILE).read_text())
    assert spec.pop("others") == {}
    (folder / SPEC_FILE).write_text(json.dumps(spec))
    expected = load_generator(folder)[0].state_dict()
    assert load_generator(folder)[1].others == {}
    weights = load_network(folder, "generator")
    assert all(torch.equal(weights[key], expected[key]) for key in expected)
    assert generator_files(folder) == {SPEC_FILE, WEIGHTS_FILE}
    downgrade(folder)
    assert sorted(load_network(folder, "generator")) == sorted(expected)
    assert generator_files(folder) == {SPEC_FILE, WEIGHTS_FILE}


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"others": 3}', b'{"others": [1]}'])
def test_files_of_a_folder_that_describes_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SPEC_FILE).write_bytes(content)
    assert {SPEC_FILE, WEIGHTS_FILE} <= generator_files(tmp_path)

"""Starting from exported weights: they are taken as they are, named by hash, or refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.data import Facts
from harness.errors import HarnessError
from harness.systems import System, TrainConfig, parse_config, save_generator, system_of

FACTS = Facts(sample_shape=(1, 8, 8), num_classes=10)
SMALL = {"architecture": "mlp", "latent_dim": 3, "g_width": 4, "d_width": 4, "batch_size": 4}


def config_of(**changes: Any) -> TrainConfig:
    return parse_config(SMALL | {"dataset": "digits"} | changes, "test")


def made(config: TrainConfig, facts: Facts = FACTS) -> System[Any]:
    return system_of({})(config, facts, torch.device("cpu"))


@pytest.fixture
def exported(tmp_path: Path) -> tuple[str, System[Any]]:
    """Return the folder of an exported game of seed 7, and the game."""
    game = made(config_of(seed=7))
    # What is sampled is not the raw generator.
    for parameter in game.networks["average"].parameters():
        parameter.data.mul_(0.5)
    others = {name: game.networks[name] for name in ("generator", "discriminator")}
    average = game.networks["average"].eval()
    save_generator(tmp_path / "best", average, game.config, FACTS, others)
    return str(tmp_path / "best"), game


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_each_network_starts_from_the_weights_that_are_named(
    exported: tuple[str, System[Any]],
) -> None:
    folder, game = exported
    for changes in ({"g_from": folder}, {"d_from": folder}, {"g_from": folder, "d_from": folder}):
        begun = made(config_of(**changes))
        sampled = game.networks["average"]
        assert same(begun.networks["generator"], sampled) == ("g_from" in changes)
        assert same(begun.networks["average"], begun.networks["generator"])
        judge = game.networks["discriminator"]
        assert same(begun.networks["discriminator"], judge) == ("d_from" in changes)


def test_the_record_names_the_weights_by_their_hash(exported: tuple[str, System[Any]]) -> None:
    folder, game = exported
    sources = type(game).sources(config_of(g_from=folder, d_from=folder))
    files = {"g_from": "generator.safetensors", "d_from": "discriminator.safetensors"}
    assert sources == {
        key: hashlib.sha256((Path(folder) / name).read_bytes()).hexdigest()
        for key, name in files.items()
    }
    assert type(game).sources(config_of()) == {}


@pytest.mark.parametrize("key", ["g_from", "d_from"])
def test_what_does_not_fit_is_refused(key: str, exported: tuple[str, System[Any]]) -> None:
    folder, _ = exported
    with pytest.raises(HarnessError, match=f"^{key} = '{folder}' is of another network: "):
        made(config_of(**{key: folder, "g_width": 5, "d_width": 5}))
    with pytest.raises(HarnessError, match=f"^{key} = '/nowhere': /nowhere is not an exported"):
        config_of(**{key: "/nowhere"}).check(FACTS)
    (Path(folder) / "discriminator.safetensors").unlink()
    (Path(folder) / "generator.safetensors").write_bytes(b"else")
    with pytest.raises(HarnessError, match=f"^{key} = '{folder}'"):
        made(config_of(**{key: folder}))

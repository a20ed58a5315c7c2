"""Networks that an export holds beside the one that is sampled."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.config import parse
from harness.data import Facts
from harness.errors import HarnessError
from harness.systems import System, TrainConfig, load_generator, load_network, save_generator
from harness.systems.generator import (
    RAW_FILE,
    SPEC_FILE,
    WEIGHTS_FILE,
    generator_files,
    network_file,
)

FACTS = Facts(sample_shape=(1, 8, 8), num_classes=10)


def rename(folder: Path, others: dict[str, str]) -> None:
    """Let the description name these networks, with these hashes."""
    spec = json.loads((folder / SPEC_FILE).read_text())
    (folder / SPEC_FILE).write_text(json.dumps(spec | {"others": others}))


class Trap:
    """An object whose unpickling leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def stamp_config(stamp: type[System[Any]], **settings: Any) -> TrainConfig:
    return parse(stamp.Config, {"system": "stamp", "dataset": "digits"} | settings, "test")


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


def test_a_network_that_is_not_there(whole: tuple[Path, System[Any]]) -> None:
    with pytest.raises(HarnessError) as caught:
        load_network(whole[0], "discriminator")
    assert str(caught.value) == (
        f"{whole[0]} holds no network 'discriminator', only average, generator, critic"
    )


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
    rename(folder, others)
    with pytest.raises(HarnessError, match=f"critic.safetensors does not fit {SPEC_FILE}"):
        load_network(folder, "critic")
    assert not (tmp_path / "mark").exists()


def test_a_description_names_files_beside_it_only(whole: tuple[Path, System[Any]]) -> None:
    folder, _ = whole
    rename(folder, {"../critic": "0" * 64})
    with pytest.raises(HarnessError, match=r"generator\.json: .*others"):
        load_generator(folder)

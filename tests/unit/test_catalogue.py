"""`harness list`: whatever a study file may say is listed, and says what it is."""

from __future__ import annotations

import pytest

from harness.catalogue import CATALOGUE
from harness.data import DATASETS
from harness.evaluate import EvaluateConfig
from harness.registry import Registry
from harness.study.presets import list_presets, load_preset
from harness.study.study import ConfirmConfig, SearchConfig, StudyConfig
from harness.systems import SYSTEMS, Budget, parse_config
from harness.systems.architectures import ARCHITECTURES
from harness.systems.gan.losses import LOSSES
from harness.systems.gan.penalties import PENALTIES
from harness.systems.layers import ACTIVATIONS, NORMS


@pytest.mark.parametrize("kind", CATALOGUE)
def test_every_kind_lists_entries_in_one_line_each(kind: str) -> None:
    title, describe = CATALOGUE[kind]
    entries = describe()
    assert title
    assert entries
    for name, description in entries.items():
        assert description.strip(), f"{kind}: {name} has no description"
        assert "\n" not in description
        assert "  " not in description


@pytest.mark.parametrize(
    ("kind", "registry"),
    [
        ("losses", LOSSES),
        ("penalties", PENALTIES),
        ("architectures", ARCHITECTURES),
        ("norms", NORMS),
        ("activations", ACTIVATIONS),
        ("datasets", DATASETS),
        ("systems", SYSTEMS),
    ],
)
def test_whatever_is_registered_is_listed(kind: str, registry: Registry[object]) -> None:
    entries = CATALOGUE[kind][1]()
    assert set(registry) <= set(entries)
    assert all(entries[name] for name in registry)
    assert set(entries) - set(registry) <= {"folder:PATH"}


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        *((f"{name}-settings", SYSTEMS[name].Config) for name in SYSTEMS),
        ("study", StudyConfig),
        ("search", SearchConfig),
        ("confirm", ConfirmConfig),
        ("budget", Budget),
        ("evaluate", EvaluateConfig),
    ],
)
def test_every_key_of_a_table_is_listed(kind: str, model: type) -> None:
    assert list(CATALOGUE[kind][1]()) == list(model.model_fields)


def test_something_registered_later_is_listed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LOSSES, "_entries", dict(LOSSES._entries))
    monkeypatch.setattr(LOSSES, "_descriptions", dict(LOSSES._descriptions))
    LOSSES.add("brand_new", LOSSES["hinge"], "Something new")
    assert CATALOGUE["losses"][1]()["brand_new"] == "Something new"


@pytest.mark.parametrize("name", list_presets())
def test_presets_are_possible(name: str) -> None:
    assert name in CATALOGUE["presets"][1]()
    config = parse_config(load_preset(name), f"preset {name}")
    given = config.model_dump(include=set(load_preset(name)))
    assert given == load_preset(name)
    assert not {"seed", "budget", "dataset"} & set(load_preset(name))

"""`harness list`: whatever a study file may say is listed, and says what it is."""

from __future__ import annotations

from typing import Any

import pytest

from harness.catalogue import CATALOGUE
from harness.data import CHANGES, DATASETS
from harness.errors import HarnessError
from harness.evaluate import EvaluateConfig
from harness.registry import Registry
from harness.study.phases import ConfirmConfig, SearchConfig
from harness.study.presets import load_preset, preset_names
from harness.study.study import StudyConfig
from harness.systems import SYSTEMS, Budget, TrainConfig, parse_config
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
    spelt = {"folder:PATH", "pairs:A|B", *(f"{change}:NAME" for change in CHANGES)}
    assert set(entries) - set(registry) <= spelt


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        *((f"{name}-settings", SYSTEMS[name].Config) for name in SYSTEMS),
        ("study", StudyConfig),
        ("search", SearchConfig),
        ("confirm", ConfirmConfig),
        ("evaluate", EvaluateConfig),
    ],
)
def test_every_key_of_a_table_is_listed(kind: str, model: type) -> None:
    assert list(CATALOGUE[kind][1]()) == list(model.model_fields)


def test_budgets_are_listed_with_that_of_the_preset() -> None:
    assert list(CATALOGUE["budget"][1]()) == [*Budget.model_fields, "preset"]


def test_something_registered_later_is_listed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LOSSES, "_entries", dict(LOSSES._entries))
    monkeypatch.setattr(LOSSES, "_descriptions", dict(LOSSES._descriptions))
    LOSSES.add("brand_new", LOSSES["hinge"], "Something new")
    assert CATALOGUE["losses"][1]()["brand_new"] == "Something new"


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_possible(name: str) -> None:
    assert name in CATALOGUE["presets"][1]()
    preset = load_preset(name)
    config = parse_config(preset.for_one_run(), f"preset {name}")
    assert config.model_dump(include=set(preset.settings)) == preset.settings
    assert not {"seed", "budget", "dataset"} & set(preset.settings)
    assert config.dataset == (preset.dataset or TrainConfig(system="any").dataset)
    assert config.budget == (preset.budget or TrainConfig(system="any").budget)
    assert all(sentence.endswith(".") for sentence in preset.deviations)


def test_presets_say_where_they_deviate(add_preset: Any) -> None:
    add_preset("plain")
    add_preset("odd", deviations=["The batch is 3.", "So is z."])
    assert CATALOGUE["deviations"][1]() == {"odd": "The batch is 3. So is z.", "plain": "none"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"settings": 3}, "preset odd: settings = 3: "),
        (
            {"budget": {"image": 3}},
            "preset odd: budget: unknown key 'image'; did you mean 'images'?",
        ),
        ({"deviation": []}, "preset odd: unknown key 'deviation'; did you mean 'deviations'?"),
    ],
)
def test_a_presets_file_is_checked(content: Any, words: str, add_preset: Any) -> None:
    add_preset("odd", **content)
    with pytest.raises(HarnessError) as caught:
        load_preset("odd")
    assert words in str(caught.value)

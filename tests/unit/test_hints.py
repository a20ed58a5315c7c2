"""Hints from common names: each leads to something that there is today."""

from __future__ import annotations

import re
from string import Formatter
from typing import Any

import pytest
import typer

from harness.catalogue import CATALOGUE
from harness.cli import app
from harness.config import parse
from harness.errors import HarnessError, unknown_name
from harness.evaluate import EvaluateConfig
from harness.hints import ELSEWHERE, HINTED, KEYS, VALUES, hint
from harness.study.phases import ConfirmConfig, SearchConfig
from harness.study.presets import preset_names
from harness.study.study import StudyConfig
from harness.systems import Budget, known_settings, parse_config
from harness.systems.gan import GANConfig

MODELS = (StudyConfig, SearchConfig, ConfirmConfig, EvaluateConfig, Budget)
PLACES = [
    set(known_settings()),
    set(GANConfig.model_fields),
    *(set(m.model_fields) for m in MODELS),
]
ALIASES = [
    (text, name) for table in (KEYS, ELSEWHERE) for text, names in table.items() for name in names
]


@pytest.mark.parametrize("text", KEYS)
def test_the_keys_that_a_hint_names_stand_in_one_place(text: str) -> None:
    here = {key for _, key, _, _ in Formatter().parse(text) if key}
    assert here
    assert any(here <= place for place in PLACES)


@pytest.mark.parametrize("text", ELSEWHERE)
def test_what_does_the_work_of_a_key_exists(text: str) -> None:
    options = {
        option
        for command in typer.main.get_command(app).commands.values()  # type: ignore[attr-defined]
        for parameter in command.params
        for option in parameter.opts
    }
    assert set(re.findall(r"--[a-z]+", text)) <= options
    assert set(re.findall(r"\[(\w+)\]", text)) <= set(StudyConfig.model_fields)
    words = set(re.findall(r"\w+", text))
    assert not words & {"g_steps", "d_steps", "images", "seconds"} - set(Budget.model_fields)
    if "pruner" in words:
        assert "pruner" in SearchConfig.model_fields


@pytest.mark.parametrize(("name", "way"), [(name, way) for name in VALUES for way in VALUES[name]])
def test_a_system_by_its_common_name_can_be_trained(name: str, way: dict[str, Any]) -> None:
    if "preset" in way:
        assert way == {"preset": way["preset"]}
        assert way["preset"] in preset_names()
    else:
        parse_config({"dataset": "mnist", "architecture": "dc", "d_norm": "none", **way}, "test")


def test_no_name_has_two_meanings() -> None:
    names = [name for _, name in ALIASES]
    assert sorted(names) == sorted({name.lower() for name in names})
    assert all(name == name.lower() for name in VALUES)


@pytest.mark.parametrize(("text", "name"), [each for each in ALIASES if each[0] in KEYS])
def test_no_name_is_legal_where_its_hint_would_be_shown(text: str, name: str) -> None:
    here = {key for _, key, _, _ in Formatter().parse(text) if key}
    assert not any(here <= place and name in place for place in PLACES if place != PLACES[0])


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"fixed": {"n_critic": 5}}, ["unknown key in fixed 'n_critic': here it is d_steps"]),
        ({"space": {"k": [1, 2]}}, ["unknown key in space 'k': here it is d_steps"]),
        ({"compare": {"bs": [8, 16]}}, ["unknown key in compare 'bs': here it is batch_size"]),
        ({"fixed": {"epochs": 5}}, ["'epochs': how long a run trains is [budget]"]),
        ({"budget": {"epochs": 5}}, ["'epochs': how long a run trains is [budget]"]),
        ({"num_workers": 4}, ["'num_workers': no processes load data", "--workers"]),
        ({"fixed": {"amp": True}}, ["'amp': it is precision at the top"]),
        ({"search": {"n_trials": 5}}, ["'n_trials': here it is trials_per_arm"]),
        ({"compare": {"loss": ["hinge", "lsgan"]}}, ["unknown loss 'lsgan': here it is loss ="]),
        (
            {"compare": {"variant": ["hinge", "wgan-gp"]}},
            ["'wgan-gp': here it is loss = 'wasserstein', penalty = 'gradient' and "
             "d_steps = 5, or preset = 'wgan_gp', e.g. in a table [variants.wgan-gp]"],
        ),
        ({"fixed": {"lr": 1e-4}}, ["'lr': here it is g_lr and d_lr"]),
        ({"preset": "SNGAN"}, ["'SNGAN': here it is loss = 'hinge' and d_norm = 'spectral', or"]),
        ({"fixed": {"N_CRITIC": 5}}, ["unknown key in fixed 'N_CRITIC': here it is d_steps"]),
        ({"fixed": {"lrG": 1e-4}}, ["'lrG': here it is g_lr"]),
        (
            {"compare": {"loss": ["hinge", "wgan"]}},
            ["'wgan': here it is loss = 'wasserstein', optimizer = 'rmsprop', weight_clip = 0.01 "
             "and d_steps = 5, or preset = 'wgan'"],
        ),
        ({"compare": {"loss": ["hinge", "vanilla"]}}, ["'minimax' or loss = 'non_saturating'"]),
        ({"fixed": {"g_lrr": 1e-4}}, ["'g_lrr'; did you mean 'g_lr'?"]),
    ],
)  # fmt: skip
def test_a_study_file_is_answered_in_its_own_words(raw: dict[str, Any], words: list[str]) -> None:
    usual = {
        "question": "Why?",
        "dataset": "digits",
        "compare": {"d_steps": [1, 2]},
        "budget": {"images": 320},
    }
    with pytest.raises(HarnessError) as told:
        parse(StudyConfig, {**usual, **raw}, "file").arms()
    for word in words:
        assert word in str(told.value)
    assert "\n" not in str(told.value)
    # Where the name is known, the list of all that is allowed would bury what it is called here.
    assert ("(allowed: " in str(told.value)) == ("did you mean" in str(told.value))


def test_other_names_are_not_hinted_at() -> None:
    assert hint("study", "wgan", ["k"]) is None
    assert hint("key in fixed", "k", ["lr"]) is None  # no such key there
    assert "did you mean" in str(unknown_name("study", "wgan", ["wgan2"]))
    assert set(HINTED) - {"variant"} <= {*known_settings(), "preset"}
    assert "losses" in CATALOGUE

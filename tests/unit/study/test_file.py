"""Study files: what they say, what the command line overrides, and what extends them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.study.file import check_extension, check_name, load_study, parse_assignment
from harness.systems import Budget

LEARNING_RATE = {"low": 1e-5, "high": 1e-2, "log": True}


def write(folder: Path, text: str) -> Path:
    file = folder / "study.toml"
    file.write_text(text)
    return file


# Files and overrides.

TOML = """
question = "Which?"
dataset = "digits"
[fixed]
batch_size = 32
[compare]
variant = ["v", "hinge"]
[variants.v]
loss = "minimax"
space = { weight_clip = [0.1, 1.0] }
[budget]
images = 1000
"""


def test_a_file_is_what_it_says(tmp_path: Path) -> None:
    got = load_study(write(tmp_path, TOML))
    assert [arm.name for arm in got.arms()] == ["v", "hinge"]
    assert got.baseline_arm == "v"
    assert (got.confirm.seeds, got.search.sampler, got.evaluate.times) == (5, "random", 8)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"study file .*none\.toml does not exist"):
        load_study(tmp_path / "none.toml")
    with pytest.raises(HarnessError, match="does not exist"):
        load_study(tmp_path)
    broken = write(tmp_path, 'question = "Which?\n')
    with pytest.raises(HarnessError, match=r"study\.toml is not valid TOML: .*line 1") as caught:
        load_study(broken)
    assert "\n" not in str(caught.value)
    twice = write(tmp_path, "seed = 1\nseed = 2\n")
    with pytest.raises(HarnessError, match="is not valid TOML"):
        load_study(twice)
    broken.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HarnessError, match="is not valid TOML"):
        load_study(broken)


def test_messages_name_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, TOML.replace("batch_size", "bach_size"))
    with pytest.raises(HarnessError) as caught:
        load_study(file)
    assert str(caught.value).startswith(f"{file}: unknown key in fixed 'bach_size'; did you mean")


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("d_steps=5", "d_steps", 5),
        ("g_lr = 1e-4", "g_lr", 1e-4),
        ("loss=hinge", "loss", "hinge"),
        ('loss="hinge"', "loss", "hinge"),
        ("log=true", "log", True),
        ("space.d_steps=[1, 2]", "space.d_steps", [1, 2]),
        ("space.g_lr={low=1, high=2}", "space.g_lr", {"low": 1, "high": 2}),
        ("dataset=folder:a=b", "dataset", "folder:a=b"),
        ("budget.images=1_000", "budget.images", 1000),
        ("x=", "x", ""),
    ],
)
def test_assignments(text: str, key: str, value: object) -> None:
    assert parse_assignment(text) == (key, value)
    assert type(parse_assignment(text)[1]) is type(value)


@pytest.mark.parametrize("text", ["d_steps", "", "=5", "  = 5"])
def test_what_is_no_assignment(text: str) -> None:
    with pytest.raises(HarnessError, match=r"--set .*: expected key=value"):
        parse_assignment(text)


def test_overrides_go_to_their_tables(tmp_path: Path) -> None:
    got = load_study(
        write(tmp_path, TOML),
        [
            "d_steps=3", "batch_size=8", "seed=4", "question=Why?", "confirm.seeds=2",
            "space.g_lr={low=1e-5, high=1e-2, log=true}", "variants.v.optimizer=sgd",
            "baseline.variant=hinge", "evaluate.samples=300",
        ],
    )  # fmt: skip
    assert got.fixed == {"batch_size": 8, "d_steps": 3}
    assert (got.seed, got.question, got.confirm.seeds) == (4, "Why?", 2)
    assert list(got.space) == ["g_lr"]
    assert got.variants["v"].settings == {"loss": "minimax", "optimizer": "sgd"}
    assert got.baseline_arm == "hinge"
    assert got.evaluate.samples == 300
    assert all(arm.config(arm.defaults, seed=0).d_steps == 3 for arm in got.arms())


@pytest.mark.parametrize("override", ["budget.g_steps=7", "budget={g_steps=7}"])
def test_an_override_replaces_the_budget(tmp_path: Path, override: str) -> None:
    assert load_study(write(tmp_path, TOML), [override]).budget == Budget(g_steps=7)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("d_step=5", "did you mean 'd_steps'?"),
        ("question.x=1", "'question' is not a table"),
        ("fixed.batch_size.x=1", "'batch_size' is not a table"),
        ("serch.seeds=1", "did you mean 'search'?"),
        ("batch_size=many", "batch_size = 'many'"),
        ("variant=hinge", "variant"),
    ],
)
def test_overrides_are_checked_like_the_file(tmp_path: Path, override: str, words: str) -> None:
    with pytest.raises(HarnessError) as caught:
        load_study(write(tmp_path, TOML), [override]).arms()
    assert words in str(caught.value)


def test_a_list_of_changes_is_no_table(tmp_path: Path) -> None:
    text = TOML.replace("[compare]", "[[compare]]").replace('["v", "hinge"]', '"hinge"')
    file = write(tmp_path, text.replace("[fixed]", 'baseline = { variant = "v" }\n[fixed]'))
    assert [arm.name for arm in load_study(file).arms()] == ["v", "hinge"]
    with pytest.raises(HarnessError, match="'compare' is not a table"):
        load_study(file, ["compare.variant=minimax"])


def test_names_of_studies() -> None:
    for name in ("mlp_vs_dc", "k-steps.v2", "3"):
        assert check_name(name) == name
    for name in ("", "a/b", "-x", ".x", "a b", "a\n", "ä"):
        with pytest.raises(HarnessError, match="study name "):
            check_name(name)


@pytest.mark.parametrize("place", ["compare", "fixed", "space"])
def test_d_steps_arrives_unchanged(tmp_path: Path, place: str) -> None:
    tables = {
        "compare": "[compare]\nd_steps = [3, 7]",
        "fixed": "[compare]\narchitecture = ['mlp']\n[fixed]\nd_steps = 7",
        "space": "[compare]\narchitecture = ['mlp']\n[space]\nd_steps = [3, 7]",
    }
    head = 'question = "k?"\ndataset = "digits"\nbudget = { d_steps = 70 }\n'
    got = load_study(write(tmp_path, head + tables[place]))
    arm = got.arms()[-1]
    config = arm.config({"d_steps": 7} if place == "space" else {}, seed=0)
    assert config.d_steps == 7
    assert json.loads(config.model_dump_json())["d_steps"] == 7
    assert config.budget == Budget(d_steps=70)


# Extending.

EXTENDABLE: dict[str, Any] = {
    "baseline": {"architecture": "mlp"},
    "fixed": {"batch_size": 32},
    "variants": {"v": {"loss": "hinge"}},
    "compare": {"architecture": ["mlp", "dc"], "variant": ["v", "minimax"]},
    "space": {"g_lr": LEARNING_RATE},
    "search": {"trials_per_arm": 4},
    "confirm": {"seeds": 3},
}


@pytest.fixture
def extend(make_study: Any) -> Callable[..., None]:
    """Return a function that checks whether a study may go on with another file."""

    def extend(old: dict[str, Any], new: dict[str, Any]) -> None:
        before, after = make_study(**EXTENDABLE | old), make_study(**EXTENDABLE | new)
        check_extension("mine", before, after)

    return extend


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"search": {"trials_per_arm": 9}},
        {"confirm": {"seeds": 10}},
        {"compare": {"architecture": ["mlp", "dc"], "variant": ["v", "minimax", "hinge"]}},
        {"compare": {"architecture": ["dc", "mlp"], "variant": ["v", "minimax"]}},
        {"variants": {"v": {"loss": "hinge"}, "unused": {"loss": "minimax"}}},
        {"baseline": {"architecture": "mlp", "variant": "v"}},  # says what it meant before
    ],
    ids=str,
)
def test_more_of_the_same_extends(changes: dict[str, Any], extend: Any) -> None:
    extend({}, changes)


def test_a_list_of_changes_can_grow(extend: Any) -> None:
    old = {"baseline": {"d_steps": 1}, "compare": [{"d_steps": 2}]}
    extend(old, {**old, "compare": [{"d_steps": 2}, {"d_steps": 5}]})
    with pytest.raises(HarnessError, match="the arm 'd_steps=2', which the file no longer has"):
        extend(old, {**old, "compare": [{"d_steps": 5}]})


def test_a_level_that_another_factor_has_too_still_extends(extend: Any) -> None:
    """Names of arms that exist must not change because of arms that are added."""
    before = {"g_activation": ["relu", "elu"], "d_activation": ["leaky_relu", "silu"]}
    after = {"g_activation": ["relu", "elu"], "d_activation": ["leaky_relu", "silu", "elu"]}
    extend({"baseline": {}, "compare": before}, {"baseline": {}, "compare": after})


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"question": "What?"}, 'question = "Which?", the file now says "What?"'),
        ({"dataset": "mnist"}, 'dataset = "digits", the file now says "mnist"'),
        ({"seed": 1}, "seed = 0, the file now says 1"),
        ({"descriptive": True}, "descriptive = false, the file now says true"),
        (
            {"budget": {"preset": 1}, "preset": "mlp_relu"},
            'preset = null, the file now says "mlp_relu"',
        ),
        ({"preset": "mlp_relu"}, 'preset = null, the file now says "mlp_relu"'),
        ({"budget": {"images": 2000}}, "budget.images = 1000, the file now says 2000"),
        ({"budget": {"g_steps": 5}}, "budget.images = 1000, the file now says null"),
        ({"fixed": {"batch_size": 64}}, "fixed.batch_size = 32, the file now says 64"),
        ({"fixed": {}}, "fixed.batch_size = 32, the file now says null"),
        (
            {"fixed": {"batch_size": 32, "d_steps": 1}},
            "fixed.d_steps = null, the file now says 1",
        ),
        (
            {"space": {"g_lr": {**LEARNING_RATE, "high": 0.1}}},
            "space.g_lr.high = 0.01, the file now says 0.1",
        ),
        ({"space": {}}, "space.g_lr.low = 1e-05, the file now says null"),
        (
            {"search": {"trials_per_arm": 4, "sampler": "qmc"}},
            'search.sampler = "random", the file now says "qmc"',
        ),
        (
            {"search": {"trials_per_arm": 4, "pruner": "median"}},
            'search.pruner = "none", the file now says "median"',
        ),
        ({"search": {"trials_per_arm": 4, "seeds": 2}}, "search.seeds = 1, the file now says 2"),
        (
            {"search": {"trials_per_arm": 4, "budget_share": 0.5}},
            "search.budget_share = 1.0, the file now says 0.5",
        ),
        ({"evaluate": {"samples": 300}}, "evaluate.samples = null, the file now says 300"),
        ({"evaluate": {"times": 2}}, "evaluate.times = 8, the file now says 2"),
        ({"baseline": {"architecture": "dc"}}, 'baseline = "mlp,v", the file now says "dc,v"'),
        ({"search": {"trials_per_arm": 3}}, "search.trials_per_arm = 4, the file now says 3"),
        ({"confirm": {"seeds": 2}}, "confirm.seeds = 3, the file now says 2"),
        (
            {"compare": {"architecture": ["mlp"], "variant": ["v", "minimax"]}},
            "the arm 'dc,v', which the file no longer has",
        ),
        (
            {"variants": {"v": {"loss": "hinge", "weight_clip": 0.1}}},
            "other settings for the arm 'mlp,v'",
        ),
        (
            {"variants": {"v": {"loss": "hinge", "space": {"d_steps": [1, 2]}}}},
            "other settings for the arm 'mlp,v'",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_any_other_change_is_another_study(
    changes: dict[str, Any], difference: str, extend: Any
) -> None:
    with pytest.raises(HarnessError) as caught:
        extend({}, changes)
    message = str(caught.value)
    assert message.startswith("study 'mine' exists with ")
    assert difference in message
    assert "--name" in message
    assert "\n" not in message


def test_fewer_trials_are_refused_where_their_number_is_left_out(extend: Any) -> None:
    """An omitted number of trials is 20."""
    unsaid: dict[str, Any] = {"search": {}}
    with pytest.raises(HarnessError, match=r"search\.trials_per_arm = 20"):
        extend(unsaid, {"search": {"trials_per_arm": 10}})
    with pytest.raises(HarnessError, match=r"search\.trials_per_arm = 30"):
        extend({"search": {"trials_per_arm": 30}}, unsaid)
    extend(unsaid, {"search": {"trials_per_arm": 30}})
    extend({"search": {"trials_per_arm": 10}}, unsaid)


def test_a_penalty_alone_may_not_change_the_norm(tmp_path: Path) -> None:
    text = (
        'question = "Do penalties help?"\ndataset = "digits"\n'
        'compare = { penalty = ["none", "r1"] }\nbudget = { images = 100 }\n'
    )
    file = tmp_path / "study.toml"
    file.write_text(text)
    with pytest.raises(HarnessError, match=r"name d_norm in \[fixed\]"):
        load_study(file)
    load_study(file, ["d_norm=none"])
    load_study(file, ["architecture=mlp"])

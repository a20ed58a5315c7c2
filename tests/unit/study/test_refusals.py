"""What a study may not say, and that its refusal names it."""

from __future__ import annotations

from typing import Any

import pytest

from harness.config import parse
from harness.errors import HarnessError
from harness.study.study import StudyConfig

# Keys in two places.


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({"fixed": {"d_steps": 1}, "space": {"d_steps": [1, 2]}}, "both fixed and space"),
        (
            {"fixed": {"d_steps": 1}, "compare": {"d_steps": [1, 2]}},
            "both fixed and compare",
        ),
        (
            {"space": {"d_steps": [1, 2]}, "compare": {"d_steps": [1, 2]}},
            "both compare and space",
        ),
        (
            {
                "baseline": {"d_steps": 1},
                "fixed": {"d_steps": 1},
                "compare": [{"d_steps": 2}],
            },
            "both fixed and compare",
        ),
    ],
)
def test_a_key_in_two_places_is_refused(changes: dict[str, Any], places: str, refusal: Any) -> None:
    assert f"'d_steps' stands in {places}; keep one of them" in refusal(**changes)


def test_a_key_of_a_variant_that_is_also_compared_is_refused(refusal: Any) -> None:
    bundle = {"v": {"loss": "hinge"}}
    compare = {"variant": ["v"], "loss": ["hinge", "minimax"]}
    assert "'loss' stands in variants.v" in refusal(variants=bundle, compare=compare)
    both = {"v": {"g_lr": 1e-3, "space": {"g_lr": [1e-3, 1e-4]}}}
    assert "'g_lr' stands in variants.v" in refusal(variants=both, compare={"variant": ["v"]})


def test_a_loss_as_variant_beside_the_factor_loss_is_refused(refusal: Any) -> None:
    """Else an arm called `hinge` would train minimax."""
    compare = {"variant": ["hinge", "minimax"], "loss": ["hinge", "minimax"]}
    assert "'loss'" in refusal(compare=compare)


def test_a_key_of_a_variants_own_space_that_is_also_compared_is_refused(refusal: Any) -> None:
    """Else two arms with different levels would be one and the same."""
    bundle = {"v": {"loss": "hinge", "space": {"g_lr": [1e-3, 1e-4]}}}
    compare = {"variant": ["v", "minimax"], "g_lr": [1e-4, 1e-3]}
    assert "'g_lr'" in refusal(variants=bundle, compare=compare)


# Other refusals.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"compare": {"loss": ["hinge", [1]]}}, ["compare.loss.1 = [1]", "a text, a number"]),
        ({"compare": {"loss": 3}}, ["compare.loss = 3", "should be a list"]),
        ({"quesion": "x"}, ["unknown key 'quesion'; did you mean 'question'?"]),
        ({"question": 3}, ["question = 3: "]),
        ({"dataset": "digit"}, ["dataset = 'digit': ", "did you mean 'digits'?"]),
        ({"preset": "mlp_deeep"}, ["unknown preset 'mlp_deeep'; did you mean 'mlp_deep'?"]),
        (
            {"compare": {"preset": ["mlp_deep", "mlp_rely"]}},
            ["study.toml: unknown preset in compare 'mlp_rely'; did you mean 'mlp_relu'?"],
        ),
        ({"compare": {"preset": ["mlp_deep", 3]}}, ["unknown preset in compare '3' (allowed: "]),
        ({"compare": {"preset": "mlp_deep"}}, ["compare.preset = 'mlp_deep': "]),
        (
            {"baseline": {"preset": "mlp_deep"}, "compare": [{"preset": "mlp_rely"}]},
            ["unknown preset in compare 'mlp_rely'; did you mean 'mlp_relu'?"],
        ),
        (
            {"variants": {"v": {"preset": "mlp_rely"}}},
            ["unknown preset in variants.v 'mlp_rely'; did you mean 'mlp_relu'?"],
        ),
        (
            {
                "variants": {"v": {"preset": "mlp_deep"}},
                "compare": {"variant": ["v"], "preset": ["mlp_relu"]},
            },
            ["'preset' stands in variants.v and in compare"],
        ),
        ({"fixed": {"preset": "mlp_deep"}}, ["'preset' does not belong in fixed"]),
        ({"space": {"preset": ["mlp_deep"]}}, ["'preset' does not belong in space"]),
        ({"variants": {"v": {"preste": "mlp_deep"}}}, ["'preste'; did you mean 'preset'?"]),
        ({"seed": -1}, ["seed = -1: "]),
        ({"fixed": {"d_step": 1}}, ["key in fixed 'd_step'; did you mean 'd_steps'?"]),
        ({"fixed": {"seed": 1}}, ["'seed' does not belong in fixed"]),
        ({"fixed": {"g_lr": "1e-4"}}, ["g_lr = '1e-4': "]),
        ({"space": {"g_lrr": [1]}}, ["key in space 'g_lrr'; did you mean 'g_lr'?"]),
        ({"space": {"image_size": [8]}}, ["'image_size' does not belong in space", "[fixed]"]),
        ({"space": {"d_steps": [1, 0]}}, ["d_steps = 0: "]),
        ({"space": {"d_steps": []}}, ["space.d_steps"]),
        ({"space": {"d_steps": 3}}, ["space.d_steps = 3: "]),
        ({"space": {"g_lr": {"low": 1.0, "high": 0.1}}}, ["space.g_lr: low = 1.0"]),
        ({"space": {"g_lr": {"low": 1e-3, "high": 0.1}}}, ["space.g_lr: the default 0.0002"]),
        ({"space": {"g_lr": {"low": 1e-5, "hi": 1.0}}}, ["'hi'; did you mean 'high'?"]),
        ({"compare": {"archtecture": ["dc"]}}, ["'archtecture'; did you mean 'architecture'?"]),
        ({"compare": {"dataset": ["digits"]}}, ["'dataset' does not belong in compare"]),
        ({"compare": {"image_size": [16]}}, ["'image_size' does not belong in compare"]),
        ({"compare": {"architecture": ["dc", "dc"]}}, ["a level is listed twice"]),
        ({"compare": {"architecture": []}}, ["compare.architecture"]),
        ({"compare": {"architecture": "dc"}}, ["compare.architecture = 'dc': "]),
        ({"compare": {"variant": ["hing"]}}, ["unknown variant 'hing'; did you mean 'hinge'?"]),
        ({"compare": []}, ["compare = []: "]),
        ({"compare": {}}, ["compare"]),
        ({"compare": [{"d_steps": 2}]}, ["baseline is missing"]),
        (
            {"baseline": {"g_norm": "none"}, "compare": [{"d_steps": 2}]},
            ["compare changes 'd_steps', which baseline does not set"],
        ),
        ({"variants": {"hinge": {"loss": "hinge"}}}, ["variants.hinge: ", "by itself"]),
        ({"variants": {"v": {"los": "hinge"}}}, ["variants.v", "'los'; did you mean 'loss'?"]),
        ({"variants": {"v": {"dataset": "mnist"}}}, ["'dataset' does not belong in variant"]),
        ({"variants": {"v": 3}}, ["variants.v = 3: "]),
        ({"variants": {"v": {"space": 3}}}, ["variants.v"]),
        ({"variants": {"v": {"space": {"g_lr": {"low": 1}}}}}, ["variants.v.space.g_lr"]),
        (
            {"variants": {"v": {"budget": {"g_step": 3}}}, "compare": {"variant": ["v"]}},
            ["arm 'v'", "'g_step'; did you mean 'g_steps'?"],
        ),
        ({"baseline": {"arch": "dc"}}, ["'arch'; did you mean 'architecture'?"]),
        ({"baseline": {"architecture": "vit"}}, ["baseline.architecture = 'vit'", "'mlp', 'dc'"]),
        ({"budget": {}}, ["budget: exactly one of"]),
        ({"budget": {"images": 1, "g_steps": 2}}, ["budget: exactly one of"]),
        ({"budget": {"preset": 0}}, ["budget.preset = 0: "]),
        ({"budget": {"preset": True}}, ["budget.preset = True: "]),
        ({"budget": {"preset": 1, "images": 5}}, ["unknown key 'images'", "preset"]),
        ({"budget": {"preset": 1}}, ["arm 'mlp': budget.preset = 1: there is no preset"]),
        ({"budget": "preset"}, ["budget = 'preset': "]),
        (
            {"variants": {"v": {"budget": {"preset": 1}}}, "compare": {"variant": ["v"]}},
            ["arm 'v': budget.preset = 1: there is no preset"],
        ),
        (
            {"compare": {"d_steps": [1, 2]}, "space": {"lr": [1e-3, 1e-4]}},
            ["arm 'd_steps=1': space.lr: system = 'gan' has no such setting", "variants"],
        ),
        ({"search": {"sampler": "rand"}}, ["search.sampler = 'rand': ", "'qmc'"]),
        ({"search": {"trials_per_arm": 0}}, ["search.trials_per_arm = 0: "]),
        ({"search": {"budget_share": 1.5}}, ["search.budget_share = 1.5: "]),
        ({"search": {"prunner": "none"}}, ["'prunner'; did you mean 'pruner'?"]),
        ({"confirm": {"seeds": 0}}, ["confirm.seeds = 0: "]),
        ({"evaluate": {"samples": 3}}, ["evaluate.samples = 3: "]),
    ],
    ids=str,
)
def test_refused_naming_key_value_and_what_is_allowed(
    changes: dict[str, Any], words: list[str], refusal: Any
) -> None:
    message = refusal(**changes)
    assert all(word in message for word in words), message


def test_a_question_and_a_budget_are_required(minimal: Any) -> None:
    for key in ("question", "dataset", "compare", "budget"):
        with pytest.raises(HarnessError, match=rf"study\.toml: {key} is missing"):
            parse(StudyConfig, {k: v for k, v in minimal.items() if k != key}, "study.toml")


@pytest.mark.parametrize(
    ("changes", "possible", "arm", "words"),
    [
        (
            {"fixed": {"d_norm": "batch"}, "compare": {"penalty": ["none", "r1"]}},
            ["penalty=none"],
            "penalty=r1",
            [
                "d_norm = 'batch'",
                "penalty = 'r1'",
                "use one of 'none', 'layer', 'instance', 'group', 'spectral'",
            ],
        ),
        (
            {"compare": {"architecture": ["mlp", "dcc"]}},
            ["mlp"],
            "dcc",
            ["architecture = 'dcc'", "did you mean 'dc'?", "(allowed: dc"],
        ),
        (
            # The system of the second has no such setting.
            {"fixed": {"d_steps": 2}, "compare": {"system": ["gan", "vae"]}},
            ["gan"],
            "vae",
            ["arm 'vae': unknown key 'd_steps'"],
        ),
        (
            {
                "fixed": {"d_norm": "none"},
                "compare": {"penalty": ["none", "r1"]},
                "space": {"penalty_weight": [1.0, 10.0]},
            },
            ["penalty=r1"],
            "penalty=none",
            ["penalty_weight = 1.0", "gradient", "r1"],
        ),
        (
            # Only a corner of the space is impossible.
            {"compare": {"penalty": ["none", "r1"]}, "space": {"d_norm": ["none", "batch"]}},
            ["penalty=none"],
            "penalty=r1",
            ["d_norm = 'batch'"],
        ),
        (
            # Only whole numbers between the ends of a range are impossible.
            {
                "fixed": {},
                "compare": {"pack": [1, 4]},
                "space": {"batch_size": {"low": 8, "high": 16, "default": 16}},
            },
            ["pack=1"],
            "pack=4",
            ["pack = 4: batch_size = 9 must be a multiple of it"],
        ),
        (
            {"compare": {"d_steps": [1, 0]}},
            ["d_steps=1"],
            "d_steps=0",
            ["d_steps = 0", "greater than or equal to 1"],
        ),
    ],
)
def test_impossible_arms_are_refused_and_listed(
    changes: dict[str, Any],
    possible: list[str],
    arm: str,
    words: list[str],
    make_study: Any,
    refusal: Any,
) -> None:
    arms, refused = make_study(**changes).possible_arms()
    assert [one.name for one in arms] == possible
    assert list(refused) == [arm]
    assert all(word in refused[arm] for word in words), refused
    assert refusal(**changes) == refused[arm]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"compare": []}, "compare"),
        ({"compare": {"loss": []}}, "compare.loss"),
        ({"space": {"loss": []}}, "space.loss.values"),
        ({"confirm": {"looks": []}}, "confirm.looks"),
    ],
)
def test_nothing_where_something_is_listed(changes: dict[str, Any], key: str, refusal: Any) -> None:
    assert refusal(**changes) == f"study.toml: {key} = []: expected at least one value, got none"


def test_more_impossible_arms_are_counted(refusal: Any) -> None:
    message = refusal(fixed={"d_norm": "batch"}, compare={"penalty": ["none", "r1", "r2"]})
    assert message.endswith("(and 1 more arms)")

"""Studies: which arms they make, which of two settings wins, and what is tried and trained."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from harness.config import parse
from harness.errors import HarnessError
from harness.study.study import StudyConfig
from harness.systems import Budget
from harness.systems.gan.losses import LOSSES

LEARNING_RATE = {"low": 1e-5, "high": 1e-2, "log": True}

# Arms.


def test_arms_are_the_product_in_the_files_order(make_study: Any) -> None:
    arms = make_study(compare={"architecture": ["dc", "mlp"], "d_steps": [1, 5]}).arms()
    assert [dict(arm.levels) for arm in arms] == [
        {"architecture": architecture, "d_steps": k}
        for architecture, k in itertools.product(["dc", "mlp"], [1, 5])
    ]
    assert [arm.name for arm in arms] == [
        "dc,d_steps=1", "dc,d_steps=5", "mlp,d_steps=1", "mlp,d_steps=5",
    ]  # fmt: skip
    for arm in arms:
        config = arm.config({}, seed=7)
        assert (config.architecture, config.d_steps) == tuple(arm.levels.values())
        assert (config.seed, config.dataset, config.budget) == (7, "digits", Budget(images=1000))


def test_a_list_changes_one_thing_at_a_time(make_study: Any) -> None:
    got = make_study(
        baseline={"d_steps": 1, "g_norm": "batch"},
        compare=[{"d_steps": 5}, {"g_norm": "layer"}, {"d_steps": 5, "g_norm": "layer"}],
    )
    assert [dict(arm.levels) for arm in got.arms()] == [
        {"d_steps": 1, "g_norm": "batch"},
        {"d_steps": 5, "g_norm": "batch"},
        {"d_steps": 1, "g_norm": "layer"},
        {"d_steps": 5, "g_norm": "layer"},
    ]
    assert got.baseline_arm == "d_steps=1,g_norm=batch"
    assert got.factors == {"d_steps": (1, 5), "g_norm": ("batch", "layer")}


def test_a_change_that_changes_nothing_is_the_baseline_once(make_study: Any) -> None:
    got = make_study(
        baseline={"d_steps": 1}, compare=[{"d_steps": 1}, {"d_steps": 2}, {"d_steps": 2}]
    )
    assert [arm.name for arm in got.arms()] == ["d_steps=1", "d_steps=2"]


def test_names_are_short_and_say_which_factor_where_a_level_does_not(arms_of: Any) -> None:
    assert list(arms_of()) == ["mlp", "dc"]
    assert list(arms_of(compare={"g_lr": [1e-4, 2e-3]})) == ["g_lr=0.0001", "g_lr=0.002"]
    shared = {"g_activation": ["relu", "elu"], "d_activation": ["relu", "silu"]}
    assert list(arms_of(compare=shared)) == [
        "g_activation=relu,d_activation=relu", "g_activation=relu,d_activation=silu",
        "g_activation=elu,d_activation=relu", "g_activation=elu,d_activation=silu",
    ]  # fmt: skip
    numbers = {"d_steps": [1, 2], "penalty_interval": [1, 2]}
    assert all(name.count("=") == 2 for name in arms_of(compare=numbers))


def test_a_losss_name_is_a_variant_by_itself(arms_of: Any) -> None:
    arms = arms_of(compare={"variant": list(LOSSES)})
    assert list(arms) == list(LOSSES)
    for name, arm in arms.items():
        assert arm.config({}, seed=0).loss == name


def test_a_variants_own_space_exists_only_with_it(arms_of: Any) -> None:
    arms = arms_of(
        variants={
            "gp": {
                "loss": "wasserstein",
                "penalty": "gradient",
                "d_norm": "none",
                "space": {"penalty_weight": {"low": 0.1, "high": 100.0, "log": True}},
            }
        },
        compare={"variant": ["hinge", "gp"]},
        space={"d_steps": [1, 2]},
    )
    assert list(arms["hinge"].space) == ["d_steps"]
    assert list(arms["gp"].space) == ["d_steps", "penalty_weight"]
    assert arms["gp"].defaults == {"d_steps": 1, "penalty_weight": 10.0}
    assert arms["hinge"].config({"d_steps": 2}, seed=0).penalty_weight is None
    config = arms["gp"].config({"d_steps": 2, "penalty_weight": 0.5}, seed=0)
    assert (config.loss, config.penalty, config.penalty_weight) == ("wasserstein", "gradient", 0.5)


def test_one_arm_may_differ_in_its_budget(arms_of: Any) -> None:
    arms = arms_of(variants={"long": {"budget": {"g_steps": 9}}}, compare={"variant": ["long"]})
    assert arms["long"].config({}, seed=0).budget == Budget(g_steps=9)
    assert arms["long"].config({}, seed=0, budget_share=0.5).budget == Budget(g_steps=4)


# Which setting wins.


def test_precedence_of_preset_fixed_variant_and_space(arms_of: Any) -> None:
    plain = {"compare": {"variant": ["v", "hinge"]}, "variants": {"v": {"loss": "minimax"}}}
    bundle = {**plain, "variants": {"v": {"g_lr": 4e-3}}}

    def rate(name: str, point: dict[str, Any], **changes: Any) -> float:
        return arms_of(**changes)[name].config(point, seed=0).g_lr

    assert rate("v", {}, **plain) == 2e-4
    assert rate("v", {}, **plain, preset="mlp_deep") == 1e-4
    assert rate("v", {}, **plain, preset="mlp_deep", fixed={"g_lr": 3e-3}) == 3e-3
    assert rate("v", {}, **bundle, preset="mlp_deep", fixed={"g_lr": 3e-3}) == 4e-3
    assert rate("hinge", {}, **bundle, preset="mlp_deep", fixed={"g_lr": 3e-3}) == 3e-3
    tuned = {"space": {"g_lr": LEARNING_RATE}, "preset": "mlp_deep"}
    assert rate("v", {"g_lr": 5e-3}, **bundle, **tuned) == 5e-3


def test_levels_win_over_presets(arms_of: Any) -> None:
    arms = arms_of(preset="mlp_deep", compare={"batch_size": [8, 16]})
    got = [arm.config({}, seed=0) for arm in arms.values()]
    assert [config.batch_size for config in got] == [8, 16]
    assert [config.g_depth for config in got] == [5, 5]


def test_a_variant_wins_over_fixed_and_leaves_other_arms_alone(arms_of: Any) -> None:
    arms = arms_of(
        fixed={"loss": "hinge", "optimizer": "adam"},
        variants={"sgd": {"optimizer": "sgd"}},
        compare={"variant": ["sgd", "minimax"]},
    )
    settings = {name: arm.config({}, seed=0) for name, arm in arms.items()}
    assert (settings["sgd"].loss, settings["sgd"].optimizer) == ("hinge", "sgd")
    assert (settings["minimax"].loss, settings["minimax"].optimizer) == ("minimax", "adam")


@pytest.mark.parametrize(
    "strong",
    [
        {"preset": "mlp_deep", "compare": {"d_steps": [1, 2]}},
        {"variants": {"v": {"g_lr": 1e-4}}, "compare": {"variant": ["v"]}},
    ],
    ids=["preset", "variant"],
)
def test_trial_0_is_what_the_arm_would_use_untuned(strong: dict[str, Any], arms_of: Any) -> None:
    untuned = next(iter(arms_of(**strong).values())).config({}, seed=0)
    tuned = next(iter(arms_of(**strong, space={"g_lr": LEARNING_RATE}).values()))
    assert untuned.g_lr == 1e-4
    assert tuned.defaults == {"g_lr": untuned.g_lr}
    assert tuned.config(tuned.defaults, seed=0) == untuned


# Presets as arms.


def test_presets_name_arms_and_replace_the_studys_preset(arms_of: Any) -> None:
    arms = arms_of(preset="mlp_deep", compare={"preset": ["mlp_relu", "mlp_leaky"]})
    assert list(arms) == ["mlp_relu", "mlp_leaky"]
    assert [arm.preset for arm in arms.values()] == ["mlp_relu", "mlp_leaky"]
    configs = [arm.config({}, seed=0) for arm in arms.values()]
    assert [config.d_depth for config in configs] == [3, 2]
    assert [config.latent_dim for config in configs] == [100, 100]  # not the 64 of mlp_deep


def test_a_variant_may_start_from_a_preset(arms_of: Any) -> None:
    arms = arms_of(
        preset="mlp_relu",
        variants={"deep": {"preset": "mlp_deep", "batch_size": 7}, "wide": {"g_width": 9}},
        compare={"variant": ["deep", "wide", "hinge"]},
    )
    assert [arm.preset for arm in arms.values()] == ["mlp_deep", "mlp_relu", "mlp_relu"]
    configs = {name: arm.config({}, seed=0) for name, arm in arms.items()}
    assert (configs["deep"].g_depth, configs["deep"].batch_size) == (5, 7)
    assert (configs["wide"].g_depth, configs["wide"].g_width) == (3, 9)
    assert (configs["hinge"].loss, configs["hinge"].g_norm) == ("hinge", "none")


def test_presets_may_be_changes_to_a_baseline(make_study: Any) -> None:
    got = make_study(
        baseline={"preset": "mlp_deep", "batch_size": 4},
        compare=[{"preset": "mlp_relu"}, {"batch_size": 8}],
    )
    names = ["mlp_deep,batch_size=4", "mlp_relu,batch_size=4", "mlp_deep,batch_size=8"]
    assert [arm.name for arm in got.arms()] == names
    assert [arm.config({}, seed=0).batch_size for arm in got.arms()] == [4, 4, 8]


def test_precedence_of_a_factors_preset(add_preset: Any, arms_of: Any) -> None:
    """From weak to strong: the study's preset, the arm's, fixed, the variant, other factors."""
    add_preset("low", settings={"g_lr": 1e-4})
    add_preset("high", settings={"g_lr": 1e-2})

    def rate(**changes: Any) -> float:
        arms = arms_of(**{"compare": {"preset": ["low"]}} | changes)
        return next(iter(arms.values())).config({}, seed=0).g_lr

    add = {"preset": "high"}
    assert rate(**add) == 1e-4
    assert rate(**add, fixed={"g_lr": 3e-3}) == 3e-3
    variant = {"variants": {"v": {"g_lr": 4e-3}}, "compare": {"preset": ["low"], "variant": ["v"]}}
    assert rate(**add, fixed={"g_lr": 3e-3}, **variant) == 4e-3
    assert rate(**add, compare={"preset": ["low"], "g_lr": [5e-3]}) == 5e-3
    own = {"variants": {"v": {"preset": "low"}}, "compare": {"variant": ["v"]}}
    assert rate(**add, **own) == 1e-4
    assert rate(**add, **own, fixed={"g_lr": 3e-3}) == 3e-3


def test_presets_of_different_systems_stand_side_by_side(add_preset: Any, arms_of: Any) -> None:
    add_preset("game", settings={"d_steps": 2})
    add_preset("coder", settings={"system": "vae", "encoder_width": 8})
    arms = arms_of(compare={"preset": ["game", "coder"]}, fixed={"latent_dim": 3})
    configs = [arm.config({}, seed=0) for arm in arms.values()]
    assert [(config.system, config.latent_dim) for config in configs] == [("gan", 3), ("vae", 3)]


# Budgets of presets.


@pytest.fixture
def presets(add_preset: Any) -> None:
    """Make two presets with budgets, which are one at seven tenths, and one without."""
    add_preset("short", budget={"images": 700}, settings={"architecture": "mlp"})
    add_preset("long", budget={"images": 2000}, settings={"architecture": "mlp"})
    add_preset("endless")


@pytest.mark.usefixtures("presets")
def test_the_studys_budget_holds_for_all_presets(arms_of: Any) -> None:
    arms = arms_of(compare={"preset": ["short", "long", "endless"]})
    assert {arm.config({}, seed=0).budget.images for arm in arms.values()} == {1000}


@pytest.mark.usefixtures("presets")
def test_presets_may_keep_their_own_budgets(make_study: Any, by_name: Any) -> None:
    own = make_study(compare={"preset": ["short", "long"]}, budget={"preset": 1}, descriptive=True)
    budgets = {name: arm.config({}, 0).budget for name, arm in by_name(own.arms()).items()}
    assert budgets == {"short": Budget(images=700), "long": Budget(images=2000)}
    scaled = [arm.config({}, 0).budget.images for arm in own.scaled(0.1).scaled(0.5).arms()]
    assert scaled == [35, 100]
    assert own.budget.preset == 1
    again = parse(StudyConfig, json.loads(json.dumps(own.scaled(0.1).model_dump(mode="json"))), "x")
    assert again.arms() == own.scaled(0.1).arms()


@pytest.mark.usefixtures("presets")
def test_one_arm_may_keep_its_presets_budget(make_study: Any, by_name: Any) -> None:
    variants = {
        "own": {"preset": "long", "budget": {"preset": 1}},
        "same": {"preset": "long"},
    }
    study = make_study(variants=variants, compare={"variant": ["own", "same"]}, descriptive=True)
    for factor in (1, 0.5):
        arms = by_name(study.scaled(factor).arms())
        assert arms["own"].config({}, seed=0).budget.images == 2000 * factor
        assert arms["same"].config({}, seed=0).budget.images == 1000 * factor


@pytest.mark.usefixtures("presets")
def test_a_preset_without_a_budget_has_none_to_keep(make_study: Any) -> None:
    study = make_study(
        compare={"preset": ["short", "endless"]}, budget={"preset": 1}, descriptive=True
    )
    arms, refused = study.possible_arms()
    assert [arm.name for arm in arms] == ["short"]
    assert list(refused) == ["endless"]
    assert "arm 'endless': budget.preset = 1: its preset has no budget" in refused["endless"]


@pytest.mark.usefixtures("presets")
def test_presets_of_unequal_budgets_are_not_ranked(make_study: Any, arms_of: Any) -> None:
    unequal = {"compare": {"preset": ["short", "long"]}, "budget": {"preset": 1}}
    with pytest.raises(HarnessError) as caught:
        make_study(**unequal).possible_arms()
    words = "(short: 700 real images, long: 2,000 real images)"
    assert all(word in str(caught.value) for word in (words, "descriptive = true"))
    own = {"variants": {"own": {"preset": "long", "budget": {"preset": 1}}, "same": {}}}
    with pytest.raises(HarnessError, match="descriptive = true"):
        arms_of(**own, compare={"variant": ["own", "same"]})
    equal = {"preset": "long", "compare": {"d_steps": [1, 2]}, "budget": {"preset": 0.5}}
    assert {arm.config({}, 0).budget.images for arm in arms_of(**equal).values()} == {1000}


# Points and seeds.


def test_every_arm_gets_its_share_of_points(make_study: Any) -> None:
    got = make_study(space={"g_lr": LEARNING_RATE})
    assert {len(got.points(arm)) for arm in got.arms()} == {20}
    few = make_study(space={"g_lr": LEARNING_RATE}, search={"trials_per_arm": 3})
    for arm in few.arms():
        assert few.points(arm) == got.points(arm)[:3]
    mlp, dc = (got.points(arm) for arm in got.arms())
    assert mlp[0] == dc[0]
    assert mlp[1:] != dc[1:]
    assert got.points(got.arms()[0]) != make_study(seed=1, space={"g_lr": LEARNING_RATE}).points(
        got.arms()[0]
    )


def test_a_grid_has_all_its_points(make_study: Any) -> None:
    space = {"d_steps": [1, 2, 5], "g_lr": {**LEARNING_RATE, "num": 4}}
    got = make_study(space=space, search={"sampler": "grid"})
    assert {len(got.points(arm)) for arm in got.arms()} == {13}  # 2e-4 is not on it
    wrong = make_study(space=space, search={"sampler": "grid", "trials_per_arm": 5})
    with pytest.raises(HarnessError, match=r"search\.trials_per_arm = 5: this grid has 13 points"):
        wrong.points(wrong.arms()[0])


def test_a_search_with_tpe_begins_with_the_defaults(make_study: Any) -> None:
    got = make_study(space={"d_steps": [1, 2]}, search={"sampler": "tpe", "trials_per_arm": 3})
    assert got.points(got.arms()[0]) == [{"d_steps": 1}, None, None]


@pytest.mark.parametrize("seed", [0, 1, 999])
def test_confirm_seeds_are_fresh(seed: int, make_study: Any) -> None:
    got = make_study(seed=seed, search={"seeds": 3, "trials_per_arm": 500}, confirm={"seeds": 100})
    searched = [seed for trial in range(500) for seed in got.search_seeds(trial)]
    confirmed = got.confirm_seeds()
    assert len(searched) == len(set(searched)) == 1500
    assert len(confirmed) == len(set(confirmed)) == 100
    assert not set(searched) & set(confirmed)
    assert make_study(seed=seed, confirm={"seeds": 7}).confirm_seeds() == confirmed[:7]


# Smaller studies of the same shape.


def test_scaled(make_study: Any, by_name: Any) -> None:
    got = make_study(
        variants={"long": {"budget": {"g_steps": 500}}, "clip": {"weight_clip": 0.1}},
        compare={"variant": ["long", "clip"]},
        space={"d_steps": [1, 2]},
        evaluate={"samples": 10_000},
    )
    small = got.scaled(0.1)
    assert small.budget == Budget(images=100)
    arms = by_name(small.arms())
    assert arms["long"].config({"d_steps": 1}, seed=0).budget == Budget(g_steps=50)
    assert arms["clip"].config({"d_steps": 1}, seed=0).budget == Budget(images=100)
    assert arms["clip"].config({"d_steps": 1}, seed=0).weight_clip == 0.1
    assert small.evaluate.samples == 1000
    assert (small.search, small.confirm, small.space) == (got.search, got.confirm, got.space)
    assert got.scaled(0.001).evaluate.samples == 250
    assert got.scaled(1e-6).budget == Budget(images=1)
    assert got.budget == Budget(images=1000)
    assert got.variants["long"].settings == {"budget": {"g_steps": 500}}


@pytest.mark.parametrize(("samples", "expected"), [(None, None), (100, 100), (300, 250)])
def test_scaled_samples_have_a_floor_but_never_grow(
    samples: int | None, expected: int | None, make_study: Any
) -> None:
    assert make_study(evaluate={"samples": samples}).scaled(0.1).evaluate.samples == expected

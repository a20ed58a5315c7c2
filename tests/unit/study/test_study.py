"""Study files: which arms they make, what they refuse, and what extends them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from harness.config import parse
from harness.errors import HarnessError
from harness.study.file import check_extension, check_name, load_study, parse_assignment
from harness.study.study import Arm, StudyConfig
from harness.systems import Budget
from harness.systems.gan.losses import LOSSES

STUDIES = Path(__file__).parents[2] / "studies"
MINIMAL: dict[str, Any] = {
    "question": "Which?",
    "dataset": "digits",
    "compare": {"architecture": ["mlp", "dc"]},
    "budget": {"images": 1000},
}
LEARNING_RATE = {"low": 1e-5, "high": 1e-2, "log": True}


def study(**changes: Any) -> StudyConfig:
    return parse(StudyConfig, MINIMAL | changes, "study.toml")


def refusal(**changes: Any) -> str:
    """Return why a study file is refused, whether as a whole or for one of its arms."""
    with pytest.raises(HarnessError) as caught:
        study(**changes).arms()
    message = str(caught.value)
    assert "\n" not in message
    return message


def by_name(arms: Iterable[Arm]) -> dict[str, Arm]:
    return {arm.name: arm for arm in arms}


def arms_of(**changes: Any) -> dict[str, Arm]:
    arms = study(**changes).arms()
    assert len(by_name(arms)) == len(arms)
    return by_name(arms)


def write(folder: Path, text: str) -> Path:
    file = folder / "study.toml"
    file.write_text(text)
    return file


# The files that ship.

SHIPPED = sorted(STUDIES.glob("*.toml"))
RATES = (1e-4, 2e-4, 4e-4)
EXPECTED = {
    "demo": ["mlp", "dc"],
    "mlp_vs_dc": ["mlp", "dc"],
    "learning_rates": [f"g_lr={g},d_lr={d}" for g in RATES for d in RATES],
    "losses": [
        "minimax", "non_saturating", "least_squares", "hinge", "wgan", "wgan_gp",
        "non_saturating_r1",
    ],
    "k_steps": [
        "d_steps=1,equal_images", "d_steps=2,equal_images", "d_steps=5,equal_images",
        "d_steps=2,equal_g_steps", "d_steps=5,equal_g_steps",
    ],
}  # fmt: skip
BASELINES = {
    "demo": "mlp",
    "mlp_vs_dc": "mlp",
    "learning_rates": "g_lr=0.0002,d_lr=0.0002",
    "losses": "non_saturating",
    "k_steps": "d_steps=1,equal_images",
}


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_study_is_possible(file: Path) -> None:
    got = load_study(file)
    arms, refused = got.possible_arms()
    assert not refused
    assert arms == got.arms()
    assert got.baseline_arm in by_name(arms)
    assert len({len(got.points(arm)) for arm in arms}) == 1
    assert len({(arm.config(arm.defaults, 0).dataset) for arm in arms}) == 1
    for arm in arms:
        assert got.points(arm)[0] == arm.defaults
        assert got.points(arm) == got.points(arm)
        for point in got.points(arm):
            arm.config(point or {}, seed=1)


@pytest.mark.parametrize("name", EXPECTED)
def test_shipped_studies_have_the_arms_they_announce(name: str) -> None:
    got = load_study(STUDIES / f"{name}.toml")
    assert [arm.name for arm in got.arms()] == EXPECTED[name]
    assert got.baseline_arm == BASELINES[name]
    trials = got.search.trials_per_arm if got.space else 1
    assert all(len(got.points(arm)) == trials for arm in got.arms())


def test_the_study_of_losses_trains_what_its_arms_say() -> None:
    arms = by_name(load_study(STUDIES / "losses.toml").arms())
    for name in ("minimax", "non_saturating", "least_squares", "hinge"):
        config = arms[name].config(arms[name].defaults, seed=0)
        assert (config.loss, config.penalty, config.weight_clip) == (name, "none", None)
    clipped = arms["wgan"].config(arms["wgan"].defaults, seed=0)
    assert (clipped.loss, clipped.optimizer, clipped.weight_clip) == (
        "wasserstein", "rmsprop", 0.01,
    )  # fmt: skip
    for name, loss, penalty in [
        ("wgan_gp", "wasserstein", "gradient"),
        ("non_saturating_r1", "non_saturating", "r1"),
    ]:
        config = arms[name].config(arms[name].defaults, seed=0)
        assert (config.loss, config.penalty, config.penalty_weight) == (loss, penalty, 10.0)


def test_the_study_of_k_gives_two_kinds_of_budget() -> None:
    budgets = {
        arm.name: arm.config(arm.defaults, seed=0).budget
        for arm in load_study(STUDIES / "k_steps.toml").arms()
    }
    assert budgets["d_steps=5,equal_images"] == Budget(images=600_000)
    assert budgets["d_steps=5,equal_g_steps"] == Budget(g_steps=9_375)
    assert 9_375 * 64 == 600_000  # at k = 1 the two are one


# Arms.


def test_arms_are_the_product_in_the_files_order() -> None:
    arms = study(compare={"architecture": ["dc", "mlp"], "d_steps": [1, 5]}).arms()
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


def test_a_list_changes_one_thing_at_a_time() -> None:
    got = study(
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


def test_a_change_that_changes_nothing_is_the_baseline_once() -> None:
    got = study(baseline={"d_steps": 1}, compare=[{"d_steps": 1}, {"d_steps": 2}, {"d_steps": 2}])
    assert [arm.name for arm in got.arms()] == ["d_steps=1", "d_steps=2"]


def test_names_are_short_and_say_which_factor_where_a_level_does_not() -> None:
    assert list(arms_of()) == ["mlp", "dc"]
    assert list(arms_of(compare={"g_lr": [1e-4, 2e-3]})) == ["g_lr=0.0001", "g_lr=0.002"]
    shared = {"g_activation": ["relu", "elu"], "d_activation": ["relu", "silu"]}
    assert list(arms_of(compare=shared)) == [
        "g_activation=relu,d_activation=relu", "g_activation=relu,d_activation=silu",
        "g_activation=elu,d_activation=relu", "g_activation=elu,d_activation=silu",
    ]  # fmt: skip
    numbers = {"d_steps": [1, 2], "penalty_interval": [1, 2]}
    assert all(name.count("=") == 2 for name in arms_of(compare=numbers))


def test_a_losss_name_is_a_variant_by_itself() -> None:
    arms = arms_of(compare={"variant": list(LOSSES)})
    assert list(arms) == list(LOSSES)
    for name, arm in arms.items():
        assert arm.config({}, seed=0).loss == name


def test_a_variants_own_space_exists_only_with_it() -> None:
    arms = arms_of(
        variants={
            "gp": {
                "loss": "wasserstein",
                "penalty": "gradient",
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


def test_one_arm_may_differ_in_its_budget() -> None:
    arms = arms_of(variants={"long": {"budget": {"g_steps": 9}}}, compare={"variant": ["long"]})
    assert arms["long"].config({}, seed=0).budget == Budget(g_steps=9)
    assert arms["long"].config({}, seed=0, budget_share=0.5).budget == Budget(g_steps=4)


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


# Which setting wins.


def test_precedence_of_preset_fixed_variant_and_space() -> None:
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


def test_levels_win_over_presets() -> None:
    arms = arms_of(preset="mlp_deep", compare={"batch_size": [8, 16]})
    got = [arm.config({}, seed=0) for arm in arms.values()]
    assert [config.batch_size for config in got] == [8, 16]
    assert [config.g_depth for config in got] == [5, 5]


def test_a_variant_wins_over_fixed_and_leaves_other_arms_alone() -> None:
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
def test_trial_0_is_what_the_arm_would_use_untuned(strong: dict[str, Any]) -> None:
    untuned = next(iter(arms_of(**strong).values())).config({}, seed=0)
    tuned = next(iter(arms_of(**strong, space={"g_lr": LEARNING_RATE}).values()))
    assert untuned.g_lr == 1e-4
    assert tuned.defaults == {"g_lr": untuned.g_lr}
    assert tuned.config(tuned.defaults, seed=0) == untuned


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
def test_a_key_in_two_places_is_refused(changes: dict[str, Any], places: str) -> None:
    assert f"'d_steps' stands in {places}; keep one of them" in refusal(**changes)


def test_a_key_of_a_variant_that_is_also_compared_is_refused() -> None:
    bundle = {"v": {"loss": "hinge"}}
    compare = {"variant": ["v"], "loss": ["hinge", "minimax"]}
    assert "'loss' stands in variants.v" in refusal(variants=bundle, compare=compare)
    both = {"v": {"g_lr": 1e-3, "space": {"g_lr": [1e-3, 1e-4]}}}
    assert "'g_lr' stands in variants.v" in refusal(variants=both, compare={"variant": ["v"]})


def test_a_loss_as_variant_beside_the_factor_loss_is_refused() -> None:
    """Else an arm called `hinge` would train minimax."""
    compare = {"variant": ["hinge", "minimax"], "loss": ["hinge", "minimax"]}
    assert "'loss'" in refusal(compare=compare)


def test_a_key_of_a_variants_own_space_that_is_also_compared_is_refused() -> None:
    """Else two arms with different levels would be one and the same."""
    bundle = {"v": {"loss": "hinge", "space": {"g_lr": [1e-3, 1e-4]}}}
    compare = {"variant": ["v", "minimax"], "g_lr": [1e-4, 1e-3]}
    assert "'g_lr'" in refusal(variants=bundle, compare=compare)


# Other refusals.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"quesion": "x"}, ["unknown key 'quesion'; did you mean 'question'?"]),
        ({"question": 3}, ["question = 3: "]),
        ({"dataset": "digit"}, ["dataset = 'digit': ", "did you mean 'digits'?"]),
        ({"preset": "mlp_deeep"}, ["unknown preset 'mlp_deeep'; did you mean 'mlp_deep'?"]),
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
    changes: dict[str, Any], words: list[str]
) -> None:
    message = refusal(**changes)
    assert all(word in message for word in words), message


def test_a_question_and_a_budget_are_required() -> None:
    for key in ("question", "dataset", "compare", "budget"):
        with pytest.raises(HarnessError, match=rf"study\.toml: {key} is missing"):
            parse(StudyConfig, {k: v for k, v in MINIMAL.items() if k != key}, "study.toml")


@pytest.mark.parametrize(
    ("changes", "possible", "arm", "words"),
    [
        (
            {"fixed": {"d_norm": "batch"}, "compare": {"penalty": ["none", "r1"]}},
            ["penalty=none"],
            "penalty=r1",
            ["d_norm = 'batch'", "penalty = 'r1'", "'none', 'layer' or 'spectral'"],
        ),
        (
            {"compare": {"architecture": ["mlp", "dcc"]}},
            ["mlp"],
            "dcc",
            ["architecture = 'dcc'", "did you mean 'dc'?", "(allowed: dc, mlp)"],
        ),
        (
            {"compare": {"penalty": ["none", "r1"]}, "space": {"penalty_weight": [1.0, 10.0]}},
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
            {"compare": {"d_steps": [1, 0]}},
            ["d_steps=1"],
            "d_steps=0",
            ["d_steps = 0", "greater than or equal to 1"],
        ),
    ],
)
def test_impossible_arms_are_refused_and_listed(
    changes: dict[str, Any], possible: list[str], arm: str, words: list[str]
) -> None:
    arms, refused = study(**changes).possible_arms()
    assert [one.name for one in arms] == possible
    assert list(refused) == [arm]
    assert all(word in refused[arm] for word in words), refused
    assert refusal(**changes) == refused[arm]


def test_more_impossible_arms_are_counted() -> None:
    message = refusal(fixed={"d_norm": "batch"}, compare={"penalty": ["none", "r1", "r2"]})
    assert message.endswith("(and 1 more arms)")


# Points and seeds.


def test_every_arm_gets_its_share_of_points() -> None:
    got = study(space={"g_lr": LEARNING_RATE})
    assert {len(got.points(arm)) for arm in got.arms()} == {20}
    few = study(space={"g_lr": LEARNING_RATE}, search={"trials_per_arm": 3})
    for arm in few.arms():
        assert few.points(arm) == got.points(arm)[:3]
    mlp, dc = (got.points(arm) for arm in got.arms())
    assert mlp[0] == dc[0]
    assert mlp[1:] != dc[1:]
    assert got.points(got.arms()[0]) != study(seed=1, space={"g_lr": LEARNING_RATE}).points(
        got.arms()[0]
    )


def test_a_grid_has_all_its_points() -> None:
    space = {"d_steps": [1, 2, 5], "g_lr": {**LEARNING_RATE, "num": 4}}
    got = study(space=space, search={"sampler": "grid"})
    assert {len(got.points(arm)) for arm in got.arms()} == {13}  # 2e-4 is not on it
    wrong = study(space=space, search={"sampler": "grid", "trials_per_arm": 5})
    with pytest.raises(HarnessError, match=r"search\.trials_per_arm = 5: this grid has 13 points"):
        wrong.points(wrong.arms()[0])


def test_a_search_with_tpe_begins_with_the_defaults() -> None:
    got = study(space={"d_steps": [1, 2]}, search={"sampler": "tpe", "trials_per_arm": 3})
    assert got.points(got.arms()[0]) == [{"d_steps": 1}, None, None]


@pytest.mark.parametrize("seed", [0, 1, 999])
def test_confirm_seeds_are_fresh(seed: int) -> None:
    got = study(seed=seed, search={"seeds": 3, "trials_per_arm": 500}, confirm={"seeds": 100})
    searched = [seed for trial in range(500) for seed in got.search_seeds(trial)]
    confirmed = got.confirm_seeds()
    assert len(searched) == len(set(searched)) == 1500
    assert len(confirmed) == len(set(confirmed)) == 100
    assert not set(searched) & set(confirmed)
    assert study(seed=seed, confirm={"seeds": 7}).confirm_seeds() == confirmed[:7]


# Smaller studies of the same shape.


def test_scaled() -> None:
    got = study(
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
    samples: int | None, expected: int | None
) -> None:
    assert study(evaluate={"samples": samples}).scaled(0.1).evaluate.samples == expected


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_definitions_survive_json(file: Path) -> None:
    for original in (load_study(file), load_study(file).scaled(0.1)):
        again = parse(StudyConfig, json.loads(json.dumps(original.model_dump(mode="json"))), "x")
        assert again == original
        assert again.arms() == original.arms()
        assert [again.points(arm) for arm in again.arms()] == [
            original.points(arm) for arm in original.arms()
        ]
        check_extension("x", original, again)


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


def extend(old: dict[str, Any], new: dict[str, Any]) -> None:
    check_extension("mine", study(**EXTENDABLE | old), study(**EXTENDABLE | new))


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
def test_more_of_the_same_extends(changes: dict[str, Any]) -> None:
    extend({}, changes)


def test_a_list_of_changes_can_grow() -> None:
    old = {"baseline": {"d_steps": 1}, "compare": [{"d_steps": 2}]}
    extend(old, {**old, "compare": [{"d_steps": 2}, {"d_steps": 5}]})
    with pytest.raises(HarnessError, match="the arm 'd_steps=2', which the file no longer has"):
        extend(old, {**old, "compare": [{"d_steps": 5}]})


def test_a_level_that_another_factor_has_too_still_extends() -> None:
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
        ({"evaluate": {"times": 2}}, "evaluate.times = 5, the file now says 2"),
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
def test_any_other_change_is_another_study(changes: dict[str, Any], difference: str) -> None:
    with pytest.raises(HarnessError) as caught:
        extend({}, changes)
    message = str(caught.value)
    assert message.startswith("study 'mine' exists with ")
    assert difference in message
    assert "--name" in message
    assert "\n" not in message


def test_fewer_trials_are_refused_where_their_number_is_left_out() -> None:
    """An omitted number of trials is 20."""
    unsaid: dict[str, Any] = {"search": {}}
    with pytest.raises(HarnessError, match=r"search\.trials_per_arm = 20"):
        extend(unsaid, {"search": {"trials_per_arm": 10}})
    with pytest.raises(HarnessError, match=r"search\.trials_per_arm = 30"):
        extend({"search": {"trials_per_arm": 30}}, unsaid)
    extend(unsaid, {"search": {"trials_per_arm": 30}})
    extend({"search": {"trials_per_arm": 10}}, unsaid)


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
    assert list(by_name(got.arms())) == ["v", "hinge"]
    assert got.baseline_arm == "v"
    assert (got.confirm.seeds, got.search.sampler, got.evaluate.times) == (5, "random", 5)


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
    assert list(by_name(load_study(file).arms())) == ["v", "hinge"]
    with pytest.raises(HarnessError, match="'compare' is not a table"):
        load_study(file, ["compare.variant=minimax"])


def test_names_of_studies() -> None:
    for name in ("mlp_vs_dc", "k-steps.v2", "3"):
        assert check_name(name) == name
    for name in ("", "a/b", "-x", ".x", "a b", "a\n", "ä"):
        with pytest.raises(HarnessError, match="study name "):
            check_name(name)

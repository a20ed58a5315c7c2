"""The study files that ship: all are possible, and they have the arms that they announce."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from harness.config import parse
from harness.study.file import check_extension, load_study
from harness.study.study import StudyConfig
from harness.systems import Budget

STUDIES = Path(__file__).parents[3] / "studies"
SHIPPED = sorted(STUDIES.glob("*.toml"))
RATES = (1e-4, 2e-4, 4e-4)
PARTS = (
    "average", "d_spectral", "smooth_real", "instance_noise", "augment", "clip_grad", "cosine",
    "residual", "attention", "d_faster",
)  # fmt: skip
STYLE_PARTS = (
    "mapping", "demodulation", "noise", "skip", "mixing", "path_length", "minibatch_std", "r1",
    "average",
)  # fmt: skip
EXPECTED = {
    "demo": ["average=0", "average=20000"],
    "cycle_weight": [
        f"cycle_weight={cycle},identity_weight={share}"
        for cycle, share in ((10.0, 0.0), (0.0, 0.0), (1.0, 0.0), (10.0, 0.5))
    ],
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
    "architectures": ["mlp", "dc", "dc_pool", "dcgan32"],
    "conditional": [f"conditioning={way}" for way in ("none", "concatenation", "projection")],
    "gan_vs_vae": ["mlp_bn", "dc_pool", "vae"],
    "notes": [
        "mlp_bn", "mlp_relu", "mlp_leaky", "mlp_deep", "dc_pool", "dcgan32", "wgan", "wgan_gp",
        "cgan", "r3gan", "stylegan", "vae",
    ],
    "penalties": [
        "no_penalty", "gradient", "gradient_one_sided", "dragan", "r1", "r2", "r1_r2",
    ],
    "recipe": ["full", *(f"no_{part}" for part in PARTS)],
    "search": ["tuned"],
    "style_parts": ["full", *(f"no_{part}" for part in STYLE_PARTS)],
    "toy": ["plain", "no_average", "pack", "r1", "wgan_gp"],
    "tricks": [
        "dc", "average", "d_dropout", "d_spectral", "smooth_real", "instance_noise", "augment",
        "clip_grad", "cosine", "residual", "attention", "g_faster", "d_faster", "full",
    ],
}  # fmt: skip
BASELINES = {
    "demo": "average=0",
    "cycle_weight": "cycle_weight=10.0,identity_weight=0.0",
    "mlp_vs_dc": "mlp",
    "learning_rates": "g_lr=0.0002,d_lr=0.0002",
    "losses": "non_saturating",
    "k_steps": "d_steps=1,equal_images",
    "architectures": "mlp",
    "conditional": "conditioning=none",
    "gan_vs_vae": "vae",
    "notes": "mlp_bn",
    "penalties": "no_penalty",
    "recipe": "full",
    "toy": "plain",
    "search": "tuned",
    "style_parts": "full",
    "tricks": "dc",
}


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_study_is_possible(file: Path, by_name: Any) -> None:
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


def test_the_study_of_losses_trains_what_its_arms_say(by_name: Any) -> None:
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


def test_the_recipe_is_all_its_parts_and_every_arm_lacks_one() -> None:
    tricks, recipe = (
        tomllib.loads((STUDIES / f"{name}.toml").read_text())["variants"]
        for name in ("tricks", "recipe")
    )
    whole = {key: value for part in PARTS for key, value in tricks[part].items()}
    assert tricks["full"] == recipe["full"] == whole
    for part in PARTS:
        rest = {key: value for key, value in whole.items() if key not in tricks[part]}
        assert recipe[f"no_{part}"] == rest


def test_no_two_studies_make_the_same_confirm_runs() -> None:
    """Whoever has seen those of one would have no p in the other."""
    made: dict[tuple[str, str, int], str] = {}
    for file in SHIPPED:
        study = load_study(file)
        for arm in study.arms():
            settings = arm.config(arm.defaults, seed=0).model_dump_json()
            for seed in study.confirm_seeds():
                other = made.setdefault((study.dataset, settings, seed), file.stem)
                assert other == file.stem, arm.name


def test_only_the_study_in_the_presets_own_budgets_ranks_nothing() -> None:
    said = {file.stem: tomllib.loads(file.read_text()) for file in SHIPPED}
    assert [name for name, study in said.items() if study.get("descriptive")] == ["notes"]
    assert said["notes"]["budget"] == {"preset": 1}


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

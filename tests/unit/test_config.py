"""Configurations: what they fill in, and what they refuse in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.config import parse
from harness.errors import HarnessError
from harness.evaluate import EvaluateConfig
from harness.results.reproduce.record import rebuild_config
from harness.systems import SYSTEMS, Budget, known_settings, parse_config, system_of
from harness.systems.architectures import ARCHITECTURES
from harness.systems.gan import GANConfig
from harness.systems.gan.conditional import CONDITIONINGS
from harness.systems.gan.losses import LOSSES
from harness.systems.gan.penalties import PENALTIES
from harness.systems.gan.prior import PRIORS
from harness.systems.initialise import INITIALISATIONS
from harness.systems.layers import ACTIVATIONS, NORMS
from harness.systems.optimizers import OPTIMIZERS, SCHEDULES


def config(**values: Any) -> GANConfig:
    return parse(GANConfig, values, "study.toml")


def refusal(model: Any, values: object) -> str:
    with pytest.raises(HarnessError) as caught:
        parse(model, values, "study.toml")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("study.toml: ")
    return message.removeprefix("study.toml: ")


def test_defaults_are_complete() -> None:
    values = config().model_dump()
    expected = {
        "system": "gan",
        "dataset": "mnist",
        "image_size": None,
        "architecture": "dc",
        "latent_dim": 100,
        "g_width": 64,
        "d_width": 64,
        "g_depth": 2,
        "d_depth": 2,
        "g_norm": "batch",
        "d_norm": "batch",
        "g_activation": "relu",
        "d_activation": "leaky_relu",
        "g_dropout": 0.0,
        "d_dropout": 0.0,
        "loss": "non_saturating",
        "penalty": "none",
        "penalty_weight": None,
        "penalty_interval": 1,
        "weight_clip": None,
        "d_steps": 1,
        "batch_size": 64,
        "optimizer": "adam",
        "g_lr": 2e-4,
        "d_lr": 2e-4,
        "adam_beta1": 0.5,
        "adam_beta2": 0.999,
        "weight_decay": 0.0,
        "budget": {
            "images": 600_000,
            "steps": None,
            "g_steps": None,
            "d_steps": None,
            "seconds": None,
        },
        "seed": 0,
    }
    assert values | expected == values  # a setting may have been added beside them


@pytest.mark.parametrize(("architecture", "width", "depth"), [("mlp", 256, 3), ("dc", 64, 2)])
def test_defaults_per_architecture(architecture: str, width: int, depth: int) -> None:
    got = config(architecture=architecture, d_width=7)
    assert (got.g_width, got.g_depth, got.d_width, got.d_depth) == (width, depth, 7, depth)


def test_equal_settings_are_equal_configs() -> None:
    assert config() == config(architecture="dc", g_width=64, d_steps=1)
    assert config() != config(d_steps=2)


def test_survives_a_round_trip_through_json() -> None:
    original = config(d_norm="none", penalty="r1", weight_clip=0.1, budget={"seconds": 1.5})
    assert GANConfig.model_validate_json(original.model_dump_json()) == original


def test_networks_get_their_own_settings() -> None:
    got = config(
        g_width=3, g_depth=1, g_norm="layer", g_activation="elu", g_dropout=0.1,
        d_width=5, d_depth=2, d_norm="spectral", d_activation="silu", d_dropout=0.2,
    )  # fmt: skip
    g, d = got.g_settings, got.d_settings
    assert (g.width, g.depth, g.norm, g.activation, g.dropout) == (3, 1, "layer", "elu", 0.1)
    assert (d.width, d.depth, d.norm, d.activation, d.dropout) == (5, 2, "spectral", "silu", 0.2)


def test_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        config().d_steps = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        config().budget.images = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "value", "nearest", "registry"),
    [
        ("loss", "hing", "hinge", LOSSES),
        ("penalty", "gradiant", "gradient", PENALTIES),
        ("architecture", "ml", "mlp", ARCHITECTURES),
        ("g_norm", "btach", "batch", NORMS),
        ("d_norm", "spectrl", "spectral", NORMS),
        ("g_activation", "rulu", "relu", ACTIVATIONS),
        ("d_activation", "leaky", "leaky_relu", ACTIVATIONS),
        ("g_init", "orthogonl", "orthogonal", INITIALISATIONS),
        ("optimizer", "adm", "adam", OPTIMIZERS),
        ("d_optimizer", "rmspop", "rmsprop", OPTIMIZERS),
        ("schedule", "cosin", "cosine", SCHEDULES),
        ("g_schedule", "liner", "linear", SCHEDULES),
        ("prior", "norml", "normal", PRIORS),
        ("conditioning", "projecton", "projection", CONDITIONINGS),
    ],
)
def test_unknown_names_suggest_the_nearest(
    key: str, value: str, nearest: str, registry: Any
) -> None:
    message = refusal(GANConfig, {key: value})
    assert message.startswith(f"{key} = '{value}': unknown ")
    assert f"did you mean '{nearest}'?" in message
    assert f"(allowed: {', '.join(sorted(registry))})" in message


def test_unknown_dataset_suggests_the_nearest() -> None:
    message = refusal(GANConfig, {"dataset": "mnst"})
    assert message.startswith("dataset = 'mnst': unknown dataset 'mnst'; did you mean 'mnist'?")
    assert refusal(GANConfig, {"dataset": "folder:"}).startswith("dataset = 'folder:': unknown")
    assert config(dataset="folder:faces").dataset == "folder:faces"


def test_unknown_optimizer_names_the_legal_ones() -> None:
    message = refusal(GANConfig, {"optimizer": "adm"})
    assert message.startswith("optimizer = 'adm': unknown optimizer 'adm'; did you mean 'adam'?")
    assert all(name in message for name in OPTIMIZERS)


@pytest.mark.parametrize(
    ("model", "values", "key", "nearest"),
    [
        (GANConfig, {"los": "hinge"}, "los", "loss"),
        (GANConfig, {"dics_steps": 5}, "dics_steps", "d_steps"),
        (GANConfig, {"budget": {"imags": 3}}, "imags", "images"),
        (EvaluateConfig, {"sample": 100}, "sample", "samples"),
    ],
)
def test_unknown_keys_suggest_the_nearest(
    model: Any, values: dict[str, Any], key: str, nearest: str
) -> None:
    message = refusal(model, values)
    assert f"unknown key '{key}'; did you mean '{nearest}'? (allowed: " in message


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("d_steps", 0, "greater than or equal to 1"),
        ("batch_size", 0, "greater than or equal to 1"),
        ("latent_dim", 0, "greater than or equal to 1"),
        ("g_width", 0, "greater than or equal to 1"),
        ("d_depth", 0, "greater than or equal to 1"),
        ("penalty_interval", 0, "greater than or equal to 1"),
        ("g_lr", 0.0, "greater than 0"),
        ("d_lr", -1e-4, "greater than 0"),
        ("g_lr", float("inf"), "finite"),
        ("d_lr", float("nan"), "finite"),
        ("weight_decay", -0.1, "greater than or equal to 0"),
        ("weight_clip", 0.0, "greater than 0"),
        ("adam_beta1", 1.0, "less than 1"),
        ("adam_beta2", -0.1, "greater than or equal to 0"),
        ("g_dropout", 1.0, "less than 1"),
        ("d_dropout", -0.5, "greater than or equal to 0"),
        ("image_size", 10, "multiple of 4"),
        ("image_size", 0, "greater than or equal to 4"),
        ("seed", -1, "greater than or equal to 0"),
    ],
)
def test_out_of_range(key: str, value: float, allowed: str) -> None:
    message = refusal(GANConfig, {key: value})
    assert message.startswith(f"{key} = {value!r}: ")
    assert allowed in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("d_steps", "2"),
        ("d_steps", True),
        ("d_steps", 2.0),
        ("batch_size", "64"),
        ("g_lr", "1e-4"),
        ("weight_clip", True),
        ("g_width", None),
        ("seed", 1.5),
        ("loss", 3),
        ("penalty", None),
        ("dataset", 3),
        ("budget", 3),
        ("optimizer", 1),
    ],
)
def test_strict_types(key: str, value: object) -> None:
    assert refusal(GANConfig, {key: value}).startswith(f"{key} = {value!r}: ")


def test_whole_numbers_are_legal_where_fractions_are() -> None:
    assert config(g_lr=1).g_lr == 1.0


@pytest.mark.parametrize("key", ["architecture", "loss", "penalty", "dataset", "g_norm"])
def test_a_list_where_a_name_belongs_is_refused(key: str) -> None:
    message = refusal(GANConfig, {key: ["mlp", "dc"]})
    assert message.startswith(f"{key} = ['mlp', 'dc']: ")


def test_something_other_than_a_table_is_refused() -> None:
    assert "valid dictionary" in refusal(GANConfig, 3)


def test_further_problems_are_counted() -> None:
    message = refusal(GANConfig, {"d_steps": 0, "seed": -1, "g_lr": 0.0})
    assert message.endswith(" (and 2 more)")


@pytest.mark.parametrize("penalty", [name for name in PENALTIES if name != "none"])
def test_batch_norm_in_d_is_refused_with_a_penalty(penalty: str) -> None:
    message = refusal(GANConfig, {"penalty": penalty, "d_norm": "batch"})
    assert "d_norm = 'batch'" in message
    assert f"penalty = '{penalty}'" in message
    for norm in set(NORMS) - {"batch"}:
        assert norm in message.partition("use ")[2]
        config(penalty=penalty, d_norm=norm)


def test_batch_norm_in_d_is_legal_without_a_penalty() -> None:
    assert config(d_norm="batch").d_norm == "batch"


def test_penalty_weight_exists_only_with_a_penalty() -> None:
    message = refusal(GANConfig, {"penalty_weight": 5.0})
    assert message.startswith("penalty_weight = 5.0: ")
    assert "gradient, gradient_one_sided, dragan, r1, r2" in message
    assert config(d_norm="none", penalty="r1").penalty_weight == 10.0
    assert config(d_norm="none", penalty="r1", penalty_weight=0.5).penalty_weight == 0.5
    assert config(d_norm="none", penalty="r1", penalty_weight=0.0).penalty_weight == 0.0
    assert refusal(
        GANConfig, {"d_norm": "none", "penalty": "r1", "penalty_weight": -1.0}
    ).startswith("penalty_weight = -1.0: ")


@pytest.mark.parametrize(("g_norm", "d_norm"), [("batch", "none"), ("none", "batch")])
def test_batch_norm_needs_a_batch(g_norm: str, d_norm: str) -> None:
    message = refusal(GANConfig, {"batch_size": 1, "g_norm": g_norm, "d_norm": d_norm})
    assert message == "batch_size = 1: batch norm needs at least 2"
    config(batch_size=1, g_norm="none", d_norm="layer")
    config(batch_size=2, g_norm=g_norm, d_norm=d_norm)


@pytest.mark.parametrize("unit", ["images", "g_steps", "d_steps", "seconds"])
def test_budget_is_one_of_the_units_of_a_gan(unit: str) -> None:
    value = 2.5 if unit == "seconds" else 10
    budget = config(budget={unit: value}).budget
    assert (budget.unit, budget.amount) == (unit, value)


@pytest.mark.parametrize("values", [{}, {"images": 1, "g_steps": 2}, {"d_steps": 3, "seconds": 1}])
def test_budget_is_exactly_one(values: dict[str, int]) -> None:
    message = refusal(GANConfig, {"budget": values})
    assert message.startswith("budget: exactly one of images, steps, g_steps, d_steps, seconds")
    assert message.endswith(str(list(values)))


@pytest.mark.parametrize(
    ("unit", "value"),
    [("images", 0), ("g_steps", 1.5), ("d_steps", "9"), ("seconds", 0), ("seconds", float("nan"))],
)
def test_budget_values_are_checked(unit: str, value: object) -> None:
    message = refusal(GANConfig, {"budget": {unit: value}})
    assert message.startswith(f"budget.{unit} = {value!r}: ")


def test_scaled_budgets() -> None:
    assert Budget(images=1000).scaled(0.1) == Budget(images=100)
    assert Budget(g_steps=10).scaled(2.5) == Budget(g_steps=25)
    assert Budget(d_steps=10).scaled(0.001) == Budget(d_steps=1)
    assert Budget(seconds=10.0).scaled(0.25) == Budget(seconds=2.5)
    assert Budget(images=1000).scaled(1.0) == Budget(images=1000)


def test_evaluation_is_checked() -> None:
    assert EvaluateConfig().times == 8
    given = parse(EvaluateConfig, {"extractor_weights": "a/b.pt", "samples": 16}, "study.toml")
    assert given.extractor_weights == Path("a/b.pt")
    assert refusal(EvaluateConfig, {"samples": 15}).startswith("samples = 15: ")
    assert refusal(EvaluateConfig, {"times": 0}).startswith("times = 0: ")
    assert refusal(EvaluateConfig, {"kid_subsets": 0}).startswith("kid_subsets = 0: ")
    with pytest.raises(ValidationError, match="frozen"):
        EvaluateConfig().times = 1  # type: ignore[misc]


# Systems.


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_a_config_is_that_of_its_system(name: str) -> None:
    got = parse_config({"system": name, "seed": 3}, "study.toml")
    assert type(got) is SYSTEMS[name].Config
    assert (got.system, got.seed) == (name, 3)
    assert system_of({"system": name}) is SYSTEMS[name]
    assert set(type(got).model_fields) <= set(known_settings())
    type(got).model_validate_json(got.model_dump_json())


def test_a_config_that_names_no_system_is_a_gans() -> None:
    assert parse_config({"latent_dim": 7}, "study.toml") == config(latent_dim=7)


def test_unknown_systems_suggest_the_nearest() -> None:
    with pytest.raises(HarnessError, match="unknown system 'gam'; did you mean 'gan'"):
        parse_config({"system": "gam"}, "study.toml")


def test_a_setting_of_another_system_is_refused() -> None:
    with pytest.raises(HarnessError, match=r"study\.toml: unknown key 'd_steps'"):
        parse_config({"system": "vae", "d_steps": 2}, "study.toml")


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_a_system_counts_budgets_in_units_of_its_own(name: str) -> None:
    allowed = ("images", *SYSTEMS[name].Config.units, "seconds")
    for unit in Budget.model_fields:
        settings = {"system": name, "budget": {unit: 3}}
        if unit in allowed:
            assert parse_config(settings, "study.toml").budget == Budget(**{unit: 3})
            continue
        with pytest.raises(HarnessError) as caught:
            parse_config(settings, "study.toml")
        words = f"budget.{unit}: system = {name!r} counts {', '.join(allowed)}"
        assert str(caught.value) == f"study.toml: {words}"


def test_what_is_off_by_default_can_be_said_to_be_off() -> None:
    assert config(clip_grad="none", weight_clip="none", truncation="none") == config()
    got = config(clip_grad=1.0, d_clip_grad="none")
    assert (got.g_clip_grad, got.d_clip_grad) == (1.0, None)
    assert refusal(GANConfig, {"batch_size": "none"}).startswith("batch_size = 'none': ")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"architecture": "dcgan32", "pad_to": "none", "d_depth": 2, "g_depth": 2},
        {"architecture": "resnet", "pad_to": "none"},
        {"g_kernel": "none"},
        {"clip_grad": 1.0, "g_clip_grad": "none"},
        {"penalty": "r1"},
        {"system": "vae", "architecture": "dcgan32", "pad_to": "none"},
    ],
)
def test_what_is_off_is_still_off_when_it_is_read_back(settings: dict[str, Any]) -> None:
    made = parse_config(settings, "test")
    assert parse_config(made.model_dump(mode="json"), "test") == made
    recorded = {key: str(value) for key, value in made.recorded().items()}
    assert rebuild_config(recorded, "test") == made


def test_only_what_silence_would_turn_on_is_recorded_as_off() -> None:
    assert "pad_to" not in config().recorded()
    assert config(architecture="resnet", pad_to="none").recorded()["pad_to"] == "none"


def test_a_penalty_needs_a_weight() -> None:
    words = refusal(GANConfig, {"penalty": "r1", "penalty_weight": "none"})
    assert words.startswith("penalty_weight = 'none' with penalty = 'r1': ")


@pytest.mark.parametrize("architecture", ["dc", "infogan", "dcgan32"])
def test_norm_in_d_yields_to_a_penalty_unless_it_is_named(architecture: str) -> None:
    assert config(architecture=architecture).d_norm == "batch"
    assert config(architecture=architecture, penalty="r1").d_norm == "none"
    assert "d_norm = 'batch'" in refusal(GANConfig, {"penalty": "r1", "d_norm": "batch"})


@pytest.mark.parametrize("penalty", ["gradient", "gradient_one_sided", "dragan"])
def test_groups_have_no_unit_norms(penalty: str) -> None:
    message = refusal(GANConfig, {"penalty": penalty, "d_minibatch_std": True})
    assert message.startswith(f"d_minibatch_std = True with penalty = '{penalty}': ")
    assert config(penalty="r1", d_minibatch_std=True).d_minibatch_std

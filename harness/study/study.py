"""A study file: one research question as TOML, checked whole before anything trains."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from harness.config import Config
from harness.data import check_dataset_name
from harness.errors import HarnessError, unknown_name
from harness.evaluate import EvaluateConfig
from harness.randomness import derive_seed
from harness.run.precision import Asked
from harness.study.arm import SAME_FOR_ALL, Arm, Variant, check_keys
from harness.study.budget import AnyBudget, PresetBudget, is_by_preset, read_budget
from harness.study.comparisons import Pair, check_contrast, planned_pairs
from harness.study.phases import ConfirmConfig, SearchConfig
from harness.study.presets import load_preset, preset_names
from harness.study.space import (
    Parameter,
    Point,
    Setting,
    Space,
    corner_points,
    draw_points,
    read_space,
    whole_points,
)
from harness.systems.gan.losses import LOSSES

# Factors whose levels are settings under one name.
BUNDLES = {"preset", "variant"}
# Factors whose levels name arms alone.
SELF_EXPLAINING = {"system", "architecture", "variant", "loss", "preset"}
DEFAULT_TRIALS = 20
ONLY_ARM = "tuned"  # of a study that compares nothing
MIN_SCALED_SAMPLES = 250
Listed = Field(strict=False, min_length=1)
SEARCH_SEEDS_FROM = 1_000_000  # confirm seeds count from 1: tuning never sees them


class StudyConfig(Config):
    """A whole study file."""

    question: str
    """What the study is to answer, in one sentence."""
    dataset: str
    """A registered dataset or `folder:PATH`."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Root of the study's random points and shift of all its training seeds."""
    precision: Asked = "float32"
    """Of training's matrix products: `float32`, `bfloat16`, or `auto`, which tries out bfloat16."""
    preset: str | None = None
    """Settings to start from, where an arm does not name a preset of its own."""
    descriptive: bool = False
    """Whether arms are shown side by side, in the file's order, and nothing is ranked or tested."""
    baseline: dict[str, Setting] = {}
    """The arm that others are compared with; omitted: the first level of every factor."""
    fixed: dict[str, Any] = {}
    """Settings that are the same in all arms."""
    variants: dict[str, Variant] = {}
    """Named bundles, legal levels of the factor `variant`."""
    compare: Annotated[
        Annotated[dict[str, Annotated[tuple[Setting, ...], Listed]], Tag("(product)")]
        | Annotated[tuple[dict[str, Setting], ...], Listed, Tag("(changes)")],
        Discriminator(lambda raw: "(product)" if isinstance(raw, dict) else "(changes)"),
    ] = {}
    """Factors with their levels (arms are their product), or a list of changes to the baseline;
    omitted: nothing is compared, and one search over the space is confirmed."""
    primary: Literal["baseline", "marginal"] = "baseline"
    """What is tested: every arm against the baseline, or each level of a factor over others'."""
    contrasts: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Further comparisons, as `d_steps within variant`: the factor's steps at each level of it."""
    space: dict[str, Parameter] = {}
    """What is tuned inside every arm."""
    search: SearchConfig = SearchConfig()
    """How each arm's best settings are found."""
    confirm: ConfirmConfig = ConfirmConfig()
    """How the arms are compared."""
    budget: AnyBudget
    """The full budget of a run."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """How every run is scored."""

    @field_validator("dataset")
    @classmethod
    def _known_dataset(cls, name: str) -> str:
        return check_dataset_name(name)

    @field_validator("space", mode="before")
    @classmethod
    def _read_space(cls, raw: Any) -> Any:
        return read_space(raw) if isinstance(raw, dict) else raw

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.preset is not None:
            _check_preset("preset", self.preset)
        check_keys(self.fixed, "fixed", allow=tuple(SAME_FOR_ALL))
        check_keys(self.space, "space")
        places = {
            "fixed": set(self.fixed),
            "compare": set(self.factors),
            "space": set(self.space),
        }
        for (one, keys), (other, more) in itertools.combinations(places.items(), 2):
            if both := sorted(keys & more):
                raise ValueError(f"{both[0]!r} stands in both {one} and {other}; keep one of them")
        if not self.compare:
            self._check_search()
        for name, variant in self.variants.items():
            if name in LOSSES:
                raise ValueError(f"variants.{name}: a loss of this name is a variant by itself")
            if "preset" in variant.settings:
                _check_preset(f"preset in variants.{name}", variant.settings["preset"])
        for factor, levels in self.factors.items():
            _check_factor(self, factor, levels)
        self._check_baseline()
        for contrast in self.contrasts:
            check_contrast(contrast, self.factors)
        self._check_marginal()
        return self

    def _check_search(self) -> None:
        if not self.space:
            raise ValueError(
                "compare is missing, and so is space: name factors to compare, settings to tune, "
                "or both"
            )
        belonging: dict[str, object] = {
            "baseline": self.baseline,
            "variants": self.variants,
            "contrasts": self.contrasts,
            "descriptive": self.descriptive,
            "primary": self.primary != "baseline",
            "confirm.looks": self.confirm.looks,
            "confirm.smallest_effect": self.confirm.smallest_effect,
        }
        for key, given in belonging.items():
            if given:
                raise ValueError(
                    f"{key}: without compare there is nothing that it could be about; add compare "
                    f"or leave {key} out"
                )

    def _check_marginal(self) -> None:
        if self.primary != "marginal":
            return
        if not isinstance(self.compare, dict) or len(self.factors) < 2:
            raise ValueError(
                "primary = 'marginal': there is one factor, or a list of changes; it takes the "
                "product of several factors in compare"
            )
        foreign: dict[str, object] = {
            "contrasts": [*self.contrasts],
            "confirm.looks": [*(self.confirm.looks or ())],
            "confirm.smallest_effect": self.confirm.smallest_effect,
        }
        for key, given in foreign.items():
            if given:
                raise ValueError(
                    f"{key} = {given}: belongs to primary = 'baseline', not to 'marginal'"
                )

    def _check_baseline(self) -> None:
        for factor, level in self.baseline.items():
            if factor not in self.factors:
                raise ValueError(str(unknown_name("factor in baseline", factor, self.factors)))
            if isinstance(self.compare, dict) and level not in self.factors[factor]:
                allowed = ", ".join(map(repr, self.factors[factor]))
                raise ValueError(f"baseline.{factor} = {level!r} is not compared ({allowed})")
        if isinstance(self.compare, tuple):
            if not self.baseline:
                raise ValueError("baseline is missing: a list of changes needs one to change")
            for changes in self.compare:
                for factor in changes:
                    if factor not in self.baseline:
                        raise ValueError(f"compare changes {factor!r}, which baseline does not set")

    @property
    def is_search(self) -> bool:
        """Whether it compares nothing: one search, whose best settings are confirmed."""
        return not self.compare

    @property
    def factors(self) -> dict[str, tuple[Setting, ...]]:
        """Factor -> its levels, in order of appearance."""
        if isinstance(self.compare, dict):
            return dict(self.compare)
        levels: dict[str, dict[Setting, None]] = {
            factor: {level: None} for factor, level in self.baseline.items()
        }
        for changes in self.compare:
            for factor, level in changes.items():
                levels.setdefault(factor, {})[level] = None
        return {factor: tuple(values) for factor, values in levels.items()}

    @property
    def baseline_levels(self) -> dict[str, Setting]:
        """The baseline's level of every factor."""
        return {factor: levels[0] for factor, levels in self.factors.items()} | self.baseline

    def arms(self) -> tuple[Arm, ...]:
        """Return all arms, the baseline where the file's order puts it.

        Raises:
            HarnessError: An arm or a corner of its space is an impossible combination, or arms
                that are to be ranked have different budgets of their presets.
        """
        arms, refused = self.possible_arms()
        if refused:
            more = f" (and {len(refused) - 1} more arms)" if len(refused) > 1 else ""
            raise HarnessError(next(iter(refused.values())) + more)
        counts = {arm.name: len(self.points(arm)) for arm in arms if arm.space}
        if len(set(counts.values())) > 1:
            raise HarnessError(
                f"search.sampler = 'grid' gives arms unequal numbers of trials ({counts}); give "
                "every arm's space as many points, its defaults among them, or use another sampler"
            )
        return arms

    def possible_arms(self) -> tuple[tuple[Arm, ...], dict[str, str]]:
        """Return the arms that can run, and {name: reason} of those that cannot.

        Raises:
            HarnessError: The arms' presets have different budgets, but are to be ranked.
        """
        arms, refused = [], {}
        for levels in self._combinations():
            try:
                arm = self._arm(levels)
                points = (*corner_points(arm.space), *whole_points(arm.space, arm.defaults))
                for point in (arm.defaults, *points):
                    arm.config(point, seed=0)
                arms.append(arm)
            except HarnessError as error:
                refused[self._name(levels)] = str(error)
        self._check_comparable(arms)
        return tuple(arms), refused

    def _check_comparable(self, arms: Sequence[Arm]) -> None:
        """Refuse to rank arms that train for the different budgets of their presets."""
        variants = [self.variants.get(str(arm.levels.get("variant"))) for arm in arms]
        given = [self.budget, *(variant.settings.get("budget") for variant in variants if variant)]
        budgets = {
            read_budget(arm.settings["budget"], arm.name).describe(): arm.name
            for arm in reversed(arms)
        }
        if not self.descriptive and any(map(is_by_preset, given)) and len(budgets) > 1:
            listed = ", ".join(f"{name}: {budget}" for budget, name in reversed(budgets.items()))
            raise HarnessError(
                f"budget.preset gives arms unequal budgets ({listed}), and scores after unequal "
                "budgets are not ranked: add descriptive = true, or give all arms one budget"
            )

    def pairs(self, arms: Sequence[Arm]) -> tuple[Pair, ...]:
        """Return which arms are tested against which; none where nothing is ranked."""
        if self.descriptive or self.primary == "marginal":
            return ()
        return planned_pairs(arms, self.baseline_arm, self.contrasts, self.baseline_levels)

    @property
    def baseline_arm(self) -> str:
        """The baseline's name."""
        return self._name(self.baseline_levels)

    def points(self, arm: Arm) -> list[Point | None]:
        """Return the points of the arm's search (see `draw_points`)."""
        seed = derive_seed(self.seed, "search", arm.name)
        return draw_points(arm.space, arm.defaults, self.search.sampler, self.num_trials, seed)

    @property
    def num_trials(self) -> int | None:
        """Search trials per arm; None for a grid that is left to its own number."""
        if self.search.trials_per_arm is None and self.search.sampler != "grid":
            return DEFAULT_TRIALS
        return self.search.trials_per_arm

    def search_seeds(self, trial: int) -> list[int]:
        """Return the training seeds of a search trial."""
        first = self.seed + SEARCH_SEEDS_FROM + trial * self.search.seeds
        return list(range(first, first + self.search.seeds))

    def confirm_seeds(self) -> list[int]:
        """Return the training seeds that every arm is confirmed on."""
        return list(range(self.seed + 1, self.seed + 1 + self.confirm.seeds))

    def scaled(self, factor: float) -> StudyConfig:
        """Return a smaller study of the same shape: budgets and samples times `factor`."""
        samples = self.evaluate.samples
        if samples is not None:
            samples = min(samples, max(MIN_SCALED_SAMPLES, round(samples * factor)))
        variants = {}
        for name, variant in self.variants.items():
            settings = dict(variant.settings)
            if "budget" in settings:
                budget = read_budget(settings["budget"], f"variants.{name}.budget")
                settings["budget"] = budget.scaled(factor).model_dump(exclude_none=True)
            variants[name] = variant.model_copy(update={"settings": settings})
        return self.model_copy(
            update={
                "budget": self.budget.scaled(factor),
                "variants": variants,
                "evaluate": self.evaluate.model_copy(update={"samples": samples}),
            }
        )

    def _combinations(self) -> list[dict[str, Setting]]:
        if isinstance(self.compare, dict):
            product = itertools.product(*self.compare.values())
            return [dict(zip(self.compare, levels, strict=True)) for levels in product]
        arms = [self.baseline_levels]
        for changes in self.compare:
            levels = {**self.baseline_levels, **changes}
            if levels not in arms:
                arms.append(levels)
        return arms

    def _arm(self, levels: dict[str, Setting]) -> Arm:
        name = self._name(levels)
        own, space = self._variant(levels)
        chosen = levels.get("preset", own.pop("preset", self.preset))
        preset = None if chosen is None else load_preset(str(chosen))
        settings: dict[str, Any] = {"dataset": self.dataset, "budget": self.budget.model_dump()}
        settings |= preset.settings if preset else {}
        settings |= self.fixed
        settings |= own
        settings |= {key: level for key, level in levels.items() if key not in BUNDLES}
        if isinstance(budget := read_budget(settings["budget"], f"arm {name!r}"), PresetBudget):
            settings["budget"] = budget.of(preset, f"arm {name!r}").model_dump()
        return Arm(
            name=name,
            levels=levels,
            preset=None if preset is None else str(chosen),
            settings=settings,
            space={**self.space, **space},
        )

    def _variant(self, levels: Mapping[str, Setting]) -> tuple[dict[str, Any], Space]:
        """Return the settings and the space of an arm's variant; none where it has no variant."""
        if "variant" not in levels:
            return {}, {}
        name = str(levels["variant"])
        if name not in self.variants:
            return {"loss": name}, {}
        return dict(self.variants[name].settings), self.variants[name].space

    def _name(self, levels: Mapping[str, Setting]) -> str:
        """Join the levels: words that say what they are stand alone, all else as `key=value`.

        A name depends on the arm alone, so that it stays when a study is extended.
        """
        return (
            ",".join(
                str(level) if factor in SELF_EXPLAINING else f"{factor}={_spell(level)}"
                for factor, level in levels.items()
            )
            or ONLY_ARM
        )


def _spell(level: Setting) -> str:
    return str(level).lower() if isinstance(level, bool) else str(level)


def _check_preset(noun: str, name: Any) -> None:
    if name not in preset_names():
        raise ValueError(str(unknown_name(noun, str(name), preset_names())))


def _check_factor(study: StudyConfig, factor: str, levels: tuple[Setting, ...]) -> None:
    if len(set(map(repr, levels))) != len(levels):
        raise ValueError(f"compare.{factor} = {list(levels)}: a level is listed twice")
    if factor == "preset":
        for level in levels:
            _check_preset("preset in compare", level)
    if factor != "variant":
        check_keys([factor], "compare", allow=("preset",))
        return
    for level in levels:
        if level not in study.variants and level not in LOSSES:
            raise ValueError(str(unknown_name("variant", str(level), [*study.variants, *LOSSES])))
        if level in LOSSES and ("loss" in study.factors or "loss" in study.space):
            raise ValueError(
                f"'loss' is set by variant = {level!r} and stands in compare or space too; keep one"
            )
    for name, variant in study.variants.items():
        settings, own = set(variant.settings), set(variant.space)
        if both := sorted((settings & own) | ((settings | own) & set(study.factors))):
            raise ValueError(
                f"{both[0]!r} stands in variants.{name} and in compare or its own space; keep one"
            )

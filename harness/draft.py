"""A new study file: commented, complete, and able to resolve something."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.config import parse
from harness.data import CHANGES, check_dataset_name, kind_named, load_dataset
from harness.data.kinds import POINTS
from harness.errors import HarnessError
from harness.results.power import check_power
from harness.study.arm import SAME_FOR_ALL, check_keys
from harness.study.file import check_name, check_norms, parse_assignment
from harness.study.study import StudyConfig
from harness.systems import SYSTEMS, known_settings

LEVELS = {"image": ["mlp", "dc"], "point": ["points", "mlp"]}
"""Architectures that are compared unless something else is asked for, by what they make."""
RATES = ("g_lr", "d_lr", "lr")
SEARCHED = ("architecture", "d_steps", "loss", *RATES)
"""What a search that compares nothing tunes unless something else is asked for."""
_RATE = {"low": 5e-5, "high": 2e-3, "log": True}
RANGES: Mapping[str, Any] = {
    **dict.fromkeys(RATES, _RATE),
    "architecture": ["mlp", "dc"],
    "d_steps": [1, 2, 5],
    "loss": ["non_saturating", "hinge", "least_squares"],
    "batch_size": [32, 64, 128],
    "latent_dim": [32, 64, 128],
    "adam_beta1": [0.0, 0.5, 0.9],
    "penalty_weight": {"low": 0.1, "high": 100.0, "log": True},
}
"""What a setting is tuned over where nobody says it."""
NOTHING = "nothing"
SMALL = ("digits", "gaussian", "ring", "grid")  # data that short runs do justice to
FEWEST_SEEDS, MOST_SEEDS = 5, 40
LOG_FROM = 10  # ratio of a range's ends from which it is drawn in the logarithm


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What a study file is to say.

    Attributes:
        dataset: The data.
        compare: Factor -> levels; empty: one search that compares nothing.
        space: Setting -> its values, or ends of a range, as a study file has them.
        fixed: Settings that are the same everywhere.
        images: The budget of a run.
        trials: Search trials per arm.
        seeds: Confirm runs per arm; None: as many as can resolve something, at least 5.
        question: What it asks; empty: put together from the rest.
    """

    dataset: str
    compare: Mapping[str, Sequence[Any]]
    space: Mapping[str, Any]
    images: int
    trials: int
    seeds: int | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    question: str = ""

    def text(self, name: str) -> str:
        """Return the study file.

        Args:
            name: The file's, for the commands in its comments.

        Raises:
            HarnessError: Such a study is impossible, or no result of it could resolve anything.
        """
        if self.seeds is not None:
            return _checked(self._spell(name, self.seeds), name)
        for seeds in range(FEWEST_SEEDS, MOST_SEEDS):
            try:
                return _checked(self._spell(name, seeds), name)
            except _UnderpoweredError:
                continue
        return _checked(self._spell(name, MOST_SEEDS), name)

    def _spell(self, name: str, seeds: int) -> str:
        compared = self.compare
        head = [
            f"# harness run {name} --dry-run    says arms, runs and hours",
            f"# harness run {name}              runs it, and goes on after any interruption",
            f"# harness report {Path(name).stem}",
            "# Every key: docs/study-files.md. What may be chosen: `harness list`.",
            "",
            f"question = {_value(self.question or self._question())}",
            f"dataset  = {_value(self.dataset)}",
        ]
        if compared:
            baseline = {factor: levels[0] for factor, levels in compared.items()}
            head.append(f"baseline = {_table(baseline)}    # others are compared with it")
        tables = [
            _lines("fixed", "the same in every run", self.fixed),
            _lines("compare", "factors; their product gives the arms", compared),
            _lines("space", _tuned_where(compared), self.space),
        ]
        if self.space:
            share = 0.5 if compared else 0.25
            tables.append(
                "# The first trial is the defaults; the best on validation images is confirmed.\n"
                "[search]\n"
                f"trials_per_arm = {self.trials}\n"
                f"budget_share = {share}    # of the budget below, for each trial"
            )
        tables += [
            "# Fresh seeds that are scored on test images. Fix it before you see any score.\n"
            f"[confirm]\nseeds = {seeds}",
            "# Real images shown to D in a run; or g_steps, d_steps, seconds.\n"
            f"[budget]\nimages = {_value(self.images)}",
        ]
        return "\n\n".join(["\n".join(head), *filter(None, tables)]) + "\n"

    def _question(self) -> str:
        if not self.compare:
            tuned = ", ".join(self.space)
            return (
                f"Which settings ({tuned}) are best on {self.dataset}, in {self.images:,} images?"
            )
        factors = ", and which ".join(
            f"{factor} ({', '.join(map(str, levels))})" for factor, levels in self.compare.items()
        )
        return f"Which {factors} is best on {self.dataset}, in {self.images:,} images?"


def read_dataset(text: str) -> str:
    """Return a dataset's name; raises HarnessError where there is none of this name."""
    try:
        name = check_dataset_name(text)
    except ValueError as error:
        raise HarnessError(str(error)) from None
    folder = name.removeprefix("folder:")
    if folder != name and not Path(folder).is_dir():
        raise HarnessError(f"dataset {name}: there is no folder {folder}")
    return name


def read_compare(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Read `key=level,level,…`, one factor each; "nothing" is none.

    Raises:
        HarnessError: One is not of that form, or no setting.
    """
    factors: dict[str, list[Any]] = {}
    for text in _given(texts):
        key, levels = _assignment(text, "--compare", "compare", ("preset",))
        if not isinstance(levels, list) or len(levels) < 2:
            raise HarnessError(f"--compare {text!r}: expected key=level,level, e.g. d_steps=1,2")
        factors[key] = levels
    return factors


def read_tune(texts: Sequence[str], system: str = "gan") -> dict[str, Any]:
    """Read `key`, `key=value,value,…` or `key=low..high`, one setting each; "nothing" is none.

    A range gets a default of its own where the setting's usual one is not in it.

    Args:
        texts: One setting each.
        system: Whose settings they are.

    Raises:
        HarnessError: One is not of that form, no setting, or has no range of its own here.
    """
    space: dict[str, Any] = {}
    for text in _given(texts):
        key, values = _assignment(text, "--tune", "space", ())
        if values is None and key not in RANGES:
            raise HarnessError(
                f"--tune {key}: say over what, as {key}=value,value or {key}=low..high "
                f"(known without: {', '.join(RANGES)})"
            )
        if isinstance(values, tuple):
            fields = {**known_settings(), **SYSTEMS[system].Config.model_fields}
            low, high = values
            values = _range(low, high, fields[key].default)
        space[key] = RANGES[key] if values is None else values
    return space


def default_compare(fixed: Mapping[str, Any], dataset: str) -> dict[str, list[Any]]:
    """Return what is compared where nobody says it: architectures, where there are several."""
    legal = SYSTEMS[str(fixed.get("system", "gan"))].Config.model_fields
    if "architecture" in fixed or "architecture" not in legal or dataset.startswith("pairs:"):
        return {}
    return {"architecture": LEVELS[_made(dataset)]}


def default_tune(compare: Mapping[str, Any], fixed: Mapping[str, Any], dataset: str) -> list[str]:
    """Return what is tuned where nobody says it: rates, and without arms more than these."""
    if {"preset", "system"} & {*compare, *fixed}:
        return []  # what is there to tune depends on it
    legal = SYSTEMS[str(fixed.get("system", "gan"))].Config.model_fields
    keys = RATES if compare else SEARCHED
    chosen = [key for key in keys if key in legal and key not in compare and key not in fixed]
    values = ",".join(LEVELS[_made(dataset)])
    return [f"{key}={values}" if key == "architecture" else key for key in chosen]


def _made(dataset: str) -> str:
    return "point" if kind_named(dataset) is POINTS else "image"


def read_fixed(texts: Sequence[str]) -> dict[str, Any]:
    """Read settings as `key=value`; raises HarnessError for what is none."""
    fixed = dict(parse_assignment(text) for text in texts)
    _check_keys(fixed, "fixed", tuple(SAME_FOR_ALL))
    if "system" in fixed:
        SYSTEMS[str(fixed["system"])]
    return fixed


def usual_batch(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the batch size to write down, unless that is given or a preset's."""
    return {} if {"batch_size", "preset"} & set(given) else {"batch_size": 64}


def usual_images(dataset: str) -> int:
    """Return the budget of a run where nobody says it."""
    return 60_000 if dataset in SMALL else 600_000


def write_draft(draft: Draft, file: Path) -> None:
    """Write a study file.

    Raises:
        HarnessError: It is an impossible study, or there is such a file already.
    """
    check_new(file)
    text = draft.text(str(file))
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        check_new(file)


def check_new(file: Path) -> None:
    """Raise HarnessError for a file that is there, or whose name no study can have."""
    check_name(file.stem)
    if file.exists():
        raise HarnessError(f"{file} is there already, and is never overwritten: name a new file")


class _UnderpoweredError(HarnessError):
    """No result of the plan could resolve anything."""


def _checked(text: str, name: str) -> str:
    study = parse(StudyConfig, tomllib.loads(text), name)
    arms = study.arms()
    check_norms(arms, name)
    for arm in arms:
        arm.config(arm.defaults, seed=0).check_budget()
    if set(re.split("[:|]", study.dataset)) <= {*SMALL, *CHANGES, "pairs"}:  # at hand
        facts = load_dataset(study.dataset, Path()).facts
        for arm in arms:
            arm.config(arm.defaults, seed=0).check(facts)
    try:
        check_power(study, arms)
    except HarnessError as error:
        raise _UnderpoweredError(str(error)) from None
    return text


def _given(texts: Sequence[str]) -> list[str]:
    return [text for text in texts if text.strip() and text.strip() != NOTHING]


def _assignment(text: str, option: str, place: str, allow: tuple[str, ...]) -> tuple[str, Any]:
    """Return a key and its values: a list, a range's two ends, or None where there are none."""
    key, equals, rest = (part.strip() for part in text.partition("="))
    if not key:
        raise HarnessError(f"{option} {text!r}: there is no setting's name before the =")
    if (key, place) != ("variant", "compare"):
        _check_keys([key], place, allow)
    if not equals:
        return key, None
    low, dots, high = rest.partition("..")
    if dots and option == "--tune":
        ends = [parse_assignment(f"{key}={end}")[1] for end in (low, high)]
        if not all(isinstance(end, int | float) for end in ends):
            raise HarnessError(f"{option} {text!r}: expected {key}=low..high, two numbers")
        return key, tuple(ends)
    return key, [parse_assignment(f"{key}={value}")[1] for value in rest.split(",")]


def _range(low: float, high: float, usual: object) -> dict[str, Any]:
    values: dict[str, Any] = {"low": low, "high": high}
    if low > 0 and high / low >= LOG_FROM:
        values["log"] = True
    if not isinstance(usual, int | float):
        values["default"] = low
    elif not low <= usual <= high:
        values["default"] = high if usual > high else low
    return values


def _check_keys(keys: Any, place: str, allow: tuple[str, ...]) -> None:
    try:
        check_keys(keys, place, allow)
    except ValueError as error:
        raise HarnessError(str(error)) from None


def _tuned_where(compared: Mapping[str, Any]) -> str:
    if compared:
        return "tuned inside each arm: a list of values, or a range"
    return "tuned, all together: a list of values, or a range"


def _lines(table: str, comment: str, values: Mapping[str, Any]) -> str:
    if not values:
        return ""
    lines = [f"{key} = {_value(value)}" for key, value in values.items()]
    return "\n".join([f"# {comment[0].upper()}{comment[1:]}.", f"[{table}]", *lines])


def _table(values: Mapping[str, Any]) -> str:
    return f"{{ {', '.join(f'{key} = {_value(value)}' for key, value in values.items())} }}"


def _value(value: Any) -> str:
    """Spell a value as TOML."""
    if isinstance(value, Mapping):
        return _table(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:_}"
    if isinstance(value, float):
        return re.sub(r"e([+-])0", r"e\1", repr(value))
    return json.dumps(value, ensure_ascii=False)

"""Study files on disk: reading one with overrides, naming it, and extending it."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.config import parse
from harness.errors import HarnessError
from harness.study.arm import Arm
from harness.study.study import StudyConfig
from harness.systems.gan import GANConfig


def load_study(path: Path, overrides: Iterable[str] = ()) -> StudyConfig:
    """Read and check a study file.

    Args:
        path: A TOML file.
        overrides: `key=value` pairs: a setting goes to [fixed], `table.key` to that table.

    Raises:
        HarnessError: The file is missing, not TOML, or says something impossible.
    """
    try:
        raw = tomllib.loads(path.read_text())
    except (FileNotFoundError, IsADirectoryError):
        raise HarnessError(f"study file {path} does not exist") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise HarnessError(f"{path} is not valid TOML: {error}") from None
    for override in overrides:
        _override(raw, override)
    study = parse(StudyConfig, raw, str(path))
    arms, _ = study.possible_arms()
    check_norms(arms, str(path))
    return study


def check_norms(arms: Iterable[Arm], where: str) -> None:
    """Refuse arms that a penalty alone gives another norm in D: two differences, one named."""
    norms: dict[str, set[str]] = {}
    for arm in arms:
        if "d_norm" in arm.settings or "d_norm" in arm.space or arm.preset is not None:
            continue
        config = arm.config(arm.defaults, seed=0)
        if isinstance(config, GANConfig):
            norms.setdefault(config.architecture, set()).add(config.d_settings.norm)
    for architecture, found in norms.items():
        if len(found) > 1:
            raise HarnessError(
                f"{where}: arms with a penalty have d_norm = 'none', the others 'batch', by "
                f"architecture {architecture!r}: name d_norm in [fixed], so that arms differ in "
                "the penalty alone"
            )


def parse_assignment(text: str) -> tuple[str, Any]:
    """Split `key=value`; the value is read as TOML, and as a plain string where it is none."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise HarnessError(f"--set {text!r}: expected key=value")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def _override(raw: dict[str, Any], text: str) -> None:
    key, value = parse_assignment(text)
    table, dot, rest = key.rpartition(".")
    if not dot:
        table = "" if key in StudyConfig.model_fields else "fixed"
        rest = key
    target = raw
    for part in filter(None, table.split(".")):
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            raise HarnessError(f"--set {text!r}: {part!r} is not a table")
    if table == "budget":
        target.clear()  # exactly one unit
    target[rest] = value


def check_name(name: str) -> str:
    """Return a study's name if it can stand in file names and addresses."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise HarnessError(
            f"study name {name!r}: letters, digits, '_', '.' and '-' are allowed, a letter first"
        )
    return name


def check_extension(name: str, old: StudyConfig, new: StudyConfig) -> None:
    """Refuse to mix two different studies under one name.

    More trials, more seeds and more arms extend a study; anything else is another study.

    Raises:
        HarnessError: Names the first difference and suggests `--name`.
    """
    for key, before, after in _differences(_frame(old), _frame(new)):
        raise HarnessError(
            f"study {name!r} exists with {key} = {before}, the file now says {after}; "
            "give the new study a name of its own with --name"
        )
    counts = {
        "search.trials_per_arm": (old.num_trials, new.num_trials),
        "confirm.seeds": (old.confirm.seeds, new.confirm.seeds),
    }
    for key, (had, has) in counts.items():
        if had is not None and has is not None and has < had:
            raise HarnessError(
                f"study {name!r} exists with {key} = {had}, the file now says {has}; results are "
                "never dropped: keep the number or use --name"
            )
    new_arms = {arm.name: arm for arm in new.arms()}
    for arm in old.arms():
        if arm.name not in new_arms:
            raise HarnessError(
                f"study {name!r} exists with the arm {arm.name!r}, which the file no longer has; "
                "keep it or use --name"
            )
        now = new_arms[arm.name]
        if (arm.settings, arm.space) != (now.settings, now.space):
            raise HarnessError(
                f"study {name!r} exists with other settings for the arm {arm.name!r}; "
                "give the new study a name of its own with --name"
            )


def _frame(study: StudyConfig) -> dict[str, Any]:
    """Return what must not change when a study is extended, flat."""
    dump = study.model_dump(mode="json", exclude={"compare", "variants"})
    dump["search"].pop("trials_per_arm")
    dump["confirm"].pop("seeds")
    dump["baseline"] = study.baseline_arm
    return dict(_flatten(dump))


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    for key in [*old, *(key for key in new if key not in old)]:
        if old.get(key) != new.get(key):
            yield key, json.dumps(old.get(key)), json.dumps(new.get(key))

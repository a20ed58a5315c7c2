"""Studies that say no more than they must, with other tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from harness.config import parse
from harness.errors import HarnessError
from harness.study.arm import Arm
from harness.study.study import StudyConfig

MINIMAL: dict[str, Any] = {
    "question": "Which?",
    "dataset": "digits",
    "compare": {"architecture": ["mlp", "dc"]},
    "budget": {"images": 1000},
}


def _make_study(**changes: Any) -> StudyConfig:
    return parse(StudyConfig, MINIMAL | changes, "study.toml")


def _by_name(arms: Iterable[Arm]) -> dict[str, Arm]:
    return {arm.name: arm for arm in arms}


def _arms_of(**changes: Any) -> dict[str, Arm]:
    arms = _make_study(**changes).arms()
    assert len(_by_name(arms)) == len(arms)
    return _by_name(arms)


def _refusal(**changes: Any) -> str:
    with pytest.raises(HarnessError) as caught:
        _make_study(**changes).arms()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture(scope="session")
def minimal() -> dict[str, Any]:
    """Return the tables without which there is no study."""
    return MINIMAL


@pytest.fixture(scope="session")
def make_study() -> Callable[..., StudyConfig]:
    """Return the function that makes studies of these tables and others."""
    return _make_study


@pytest.fixture(scope="session")
def by_name() -> Callable[[Iterable[Arm]], dict[str, Arm]]:
    """Return the function that finds arms by their names."""
    return _by_name


@pytest.fixture(scope="session")
def arms_of() -> Callable[..., dict[str, Arm]]:
    """Return the function that makes a study and returns its arms, by name."""
    return _arms_of


@pytest.fixture(scope="session")
def refusal() -> Callable[..., str]:
    """Return the function that returns why a study is refused, as a whole or for one of its arms.

    It is one line.
    """
    return _refusal

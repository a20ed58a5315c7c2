"""Studies that compare nothing: one search, whose best settings are confirmed."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import HarnessError
from harness.study.file import check_extension
from harness.study.study import ONLY_ARM

SPACE = {"architecture": ["mlp", "dc"], "loss": ["hinge", "minimax"], "d_steps": [1, 2]}


def test_the_whole_space_is_one_arm(make_study: Any) -> None:
    study = make_study(compare={}, space=SPACE, search={"trials_per_arm": 7})
    (arm,) = study.arms()
    assert study.is_search
    assert (arm.name, dict(arm.levels), list(arm.space)) == (ONLY_ARM, {}, list(SPACE))
    assert study.pairs([arm]) == ()
    points = study.points(arm)
    assert len(points) == 7
    for point in points:
        config = arm.config(point, seed=1)
        assert {key: getattr(config, key) for key in SPACE} == point


def test_without_a_space_there_is_no_study(make_study: Any) -> None:
    with pytest.raises(HarnessError, match="compare is missing, and so is space"):
        make_study(compare={}, space={})


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("baseline", {"baseline": {"loss": "hinge"}}),
        ("contrasts", {"contrasts": ["loss within architecture"]}),
        ("descriptive", {"descriptive": True}),
        ("primary", {"primary": "marginal"}),
        ("variants", {"variants": {"mine": {"loss": "hinge"}}}),
        ("confirm.looks", {"confirm": {"looks": [5, 8]}}),
        ("confirm.smallest_effect", {"confirm": {"smallest_effect": 1.0}}),
    ],
)
def test_what_belongs_to_a_comparison_is_refused(
    make_study: Any, key: str, changes: dict[str, Any]
) -> None:
    space = {"g_lr": {"low": 1e-4, "high": 1e-2, "log": True}}
    with pytest.raises(HarnessError, match=rf"{key}: without compare"):
        make_study(**{"compare": {}, "space": space} | changes)


def test_more_trials_and_seeds_extend_it_and_arms_do_not(make_study: Any) -> None:
    old = make_study(compare={}, space=SPACE, search={"trials_per_arm": 7})
    longer = make_study(compare={}, space=SPACE, search={"trials_per_arm": 9}, confirm={"seeds": 8})
    check_extension("mine", old, longer)
    arms = make_study(compare={"g_norm": ["batch", "layer"]}, space=SPACE)
    with pytest.raises(HarnessError, match="--name"):
        check_extension("mine", old, arms)

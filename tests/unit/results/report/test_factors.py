"""Marginal effects and interactions of designs whose effects are known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from harness.results.report.analysis import Analysis, analyse

NOISE = [0.0, 0.1, 0.2, 0.3, 0.4]
Scores = Callable[[dict[str, Any]], Sequence[float]]


@pytest.fixture
def analysed(make_study: Any, make_records: Any) -> Callable[..., Analysis]:
    """Return a function that analyses arms with the confirm runs that it makes of their levels.

    A score of infinity is a run that diverged.
    """

    def analysed(compare: Any, scores: Scores, **changes: Any) -> Analysis:
        study = make_study(compare=compare, space={}, **changes)
        confirm = {
            arm.name: [s if math.isfinite(s) else "diverged" for s in scores(dict(arm.levels))]
            for arm in study.arms()
        }
        return analyse(make_records(confirm, study=study))

    return analysed


TWO_BY_TWO = {"loss": ["minimax", "hinge"], "d_steps": [1, 2]}


def two_by_two(levels: dict[str, Any]) -> list[float]:
    """10; hinge takes 4 off; a second step takes 1 off, with hinge 3 more."""
    hinge, steps = levels["loss"] == "hinge", levels["d_steps"] == 2
    return [10 - 4 * hinge - 1 * steps - 3 * (hinge and steps) + each for each in NOISE]


def test_marginal_effects_of_two_by_two(analysed: Any) -> None:
    effects = analysed(TWO_BY_TWO, two_by_two).effects
    names = [(each.factor, each.level, each.reference, each.num_strata) for each in effects]
    assert names == [("loss", "hinge", "minimax", 2), ("d_steps", "2", "1", 2)]
    assert [each.superiority for each in effects] == [1.0, 1.0]
    # Of 252² relabelings only the two extreme ones are as far from one half: drawn, hardly any.
    assert [each.p_value for each in effects] == pytest.approx([1e-4, 1e-4], abs=1e-4)
    assert [each.p_holm for each in effects] == pytest.approx([2 * e.p_value for e in effects])


def test_an_effect_is_tested_within_strata_only(analysed: Any) -> None:
    """Three runs a side, counted in full: 20 x 20 relabelings."""
    values = {("minimax", 1): 5.0, ("hinge", 1): 4.9, ("minimax", 2): 55.0, ("hinge", 2): 54.9}
    noise = [0.0, 0.15, 0.4]

    def scores(levels: dict[str, Any]) -> list[float]:
        return [values[levels["loss"], levels["d_steps"]] + each for each in noise]

    effect = analysed(TWO_BY_TWO, scores).effects[0]
    shares = []
    stratum = np.array([4.9, 5.05, 5.3, 5.0, 5.15, 5.4])
    for drawn in itertools.combinations(range(6), 3):
        a, b = stratum[list(drawn)], np.delete(stratum, drawn)
        shares.append(np.mean(a[:, None] < b) - 0.5)
    means = np.add.outer(shares, shares).ravel() / 2
    assert effect.superiority == pytest.approx(0.5 + shares[0])
    assert effect.p_value == pytest.approx(np.mean(abs(means) >= shares[0] - 1e-9))


def test_opposite_effects_cancel_out_and_interact(analysed: Any) -> None:
    def scores(levels: dict[str, Any]) -> list[float]:
        sign = 1 if levels["d_steps"] == 2 else -1
        return [10 + 4 * sign * (levels["loss"] == "hinge") + each for each in NOISE]

    analysis = analysed(TWO_BY_TWO, scores)
    assert analysis.effects[0].superiority == pytest.approx(0.5)
    assert analysis.effects[0].p_value == pytest.approx(1)
    assert analysis.interactions[0].contrast == pytest.approx(8)


def test_interaction_of_two_by_two(analysed: Any) -> None:
    (interaction,) = analysed(TWO_BY_TWO, two_by_two).interactions
    assert (interaction.first, interaction.second) == ("loss minimax → hinge", "d_steps 1 → 2")
    assert interaction.contrast == pytest.approx(-3)
    assert interaction.interval is not None
    assert interaction.interval.low < -3 < interaction.interval.high < 0
    assert len(interaction.arms) == len(set(interaction.arms)) == 4


def test_a_sum_of_effects_is_no_interaction(analysed: Any) -> None:
    def scores(levels: dict[str, Any]) -> list[float]:
        return [10 * (levels["loss"] == "hinge") + levels["d_steps"] + each for each in NOISE]

    (interaction,) = analysed(TWO_BY_TWO, scores).interactions
    assert interaction.contrast == pytest.approx(0, abs=1e-9)


def test_steps_lead_away_from_the_baselines_levels(analysed: Any) -> None:
    """Both steps reversed: an effect changes sides, and so does an interaction, twice."""
    baseline = {"loss": "hinge", "d_steps": 2}
    analysis = analysed(TWO_BY_TWO, two_by_two, baseline=baseline)
    assert [(e.level, e.reference) for e in analysis.effects] == [("minimax", "hinge"), ("1", "2")]
    assert [effect.superiority for effect in analysis.effects] == [0.0, 0.0]
    assert analysis.interactions[0].contrast == pytest.approx(-3)
    assert analysis.interactions[0].first == "loss hinge → minimax"


TWO_BY_THREE = {"loss": ["minimax", "hinge"], "d_steps": [1, 2, 5]}


def two_by_three(levels: dict[str, Any]) -> list[float]:
    extra = {1: 0.0, 2: 5.0, 5: -7.0}[levels["d_steps"]]
    hinge = levels["loss"] == "hinge"
    return [20 - 2 * hinge + extra * hinge + levels["d_steps"] + each for each in NOISE]


def test_two_by_three(analysed: Any) -> None:
    analysis = analysed(TWO_BY_THREE, two_by_three)
    named = {(e.factor, e.level): (e.num_strata, e.superiority) for e in analysis.effects}
    assert named == {
        ("loss", "hinge"): (3, pytest.approx(2 / 3)),  # better with 1 and 5 steps, worse with 2
        ("d_steps", "2"): (2, 0.0),
        ("d_steps", "5"): (2, 0.5),  # worse with minimax, better with hinge
    }
    contrasts = {each.second: each.contrast for each in analysis.interactions}
    assert contrasts == {"d_steps 1 → 2": pytest.approx(5), "d_steps 1 → 5": pytest.approx(-7)}


def test_an_effect_names_all_runs_that_it_rests_on(analysed: Any) -> None:
    effects = analysed(TWO_BY_THREE, two_by_three).effects
    assert len(set(effects[0].arms)) == 6
    assert set(effects[1].arms) == {
        f"{loss},d_steps={steps}" for loss in ("minimax", "hinge") for steps in (1, 2)
    }


def test_a_third_factor_is_pooled(analysed: Any) -> None:
    def scores(levels: dict[str, Any]) -> list[float]:
        return [score + 2 * (levels["optimizer"] == "sgd") for score in two_by_two(levels)]

    analysis = analysed(TWO_BY_TWO | {"optimizer": ["adam", "sgd"]}, scores)
    assert {each.num_strata for each in analysis.effects} == {4}
    assert len(analysis.interactions) == 3
    assert analysis.interactions[0].contrast == pytest.approx(-3)
    assert analysis.interactions[1].contrast == pytest.approx(0, abs=1e-9)


# Where there is nothing to say.


def test_a_single_factor_has_neither(analysed: Any) -> None:
    analysis = analysed({"loss": ["minimax", "hinge"]}, lambda levels: NOISE)
    assert (analysis.effects, analysis.interactions) == ((), ())


def test_changes_one_at_a_time_have_neither(analysed: Any) -> None:
    analysis = analysed(
        [{"loss": "hinge"}, {"d_steps": 2}],
        lambda levels: NOISE,
        baseline={"loss": "minimax", "d_steps": 1},
    )
    assert len(analysis.arms) == 3
    assert (analysis.effects, analysis.interactions) == ((), ())


def test_changes_that_fill_a_square_have_both(analysed: Any) -> None:
    changes = [{"loss": "hinge"}, {"d_steps": 2}, {"loss": "hinge", "d_steps": 2}]
    baseline = {"loss": "minimax", "d_steps": 1}
    analysis = analysed(changes, two_by_two, baseline=baseline)
    assert [each.num_strata for each in analysis.effects] == [2, 2]
    assert analysis.interactions[0].contrast == pytest.approx(-3)


def test_a_corner_without_runs(analysed: Any) -> None:
    def scores(levels: dict[str, Any]) -> list[float]:
        return [] if levels == {"loss": "hinge", "d_steps": 2} else two_by_two(levels)

    analysis = analysed(TWO_BY_TWO, scores)
    dead = ("hinge,d_steps=2",)
    assert analysis.interactions == ()
    assert [(e.num_strata, e.all_strata, e.without_runs) for e in analysis.effects] == [
        (1, 2, dead), (1, 2, dead),
    ]  # fmt: skip
    three = analysed(TWO_BY_THREE, scores_without_a_corner)
    assert [(e.factor, e.level, e.num_strata, e.without_runs) for e in three.effects] == [
        ("loss", "hinge", 2, dead), ("d_steps", "2", 1, dead), ("d_steps", "5", 2, ()),
    ]  # fmt: skip
    assert [each.second for each in three.interactions] == ["d_steps 1 → 5"]


def test_an_effect_without_a_stratum_stays_in_the_family(analysed: Any) -> None:
    """Two arms of d_steps = 2 that nothing survived: the others' p may not shrink for it."""

    def scores(levels: dict[str, Any]) -> list[float]:
        return [] if levels["d_steps"] == 2 else two_by_three(levels)

    whole, part = analysed(TWO_BY_THREE, two_by_three), analysed(TWO_BY_THREE, scores)
    assert len(part.effects) == len(whole.effects) == 3
    dead = part.effects[1]
    assert (dead.level, dead.num_strata, dead.all_strata) == ("2", 0, 2)
    assert (dead.superiority, dead.p_value, dead.p_holm, dead.smallest_p) == (None, None, None, 1)
    assert dead.without_runs == ("minimax,d_steps=2", "hinge,d_steps=2")
    least = min(effect.p_value for effect in part.effects if effect.p_value is not None)
    holm = min(effect.p_holm for effect in part.effects if effect.p_holm is not None)
    assert holm == pytest.approx(3 * least)


def scores_without_a_corner(levels: dict[str, Any]) -> list[float]:
    return [] if levels == {"loss": "hinge", "d_steps": 2} else two_by_three(levels)


def test_runs_without_a_score_rank_worst_in_effects_and_leave_interactions(analysed: Any) -> None:
    def scores(levels: dict[str, Any]) -> list[float]:
        lost = levels == {"loss": "hinge", "d_steps": 2}
        return [math.inf] * 5 if lost else two_by_two(levels)

    analysis = analysed(TWO_BY_TWO, scores)
    assert analysis.effects[0].superiority == 0.5  # won with one step, lost with two
    assert analysis.interactions == ()


def test_an_interval_needs_five_scored_runs(analysed: Any) -> None:
    def scores(levels: dict[str, Any]) -> list[float]:
        lost = levels == {"loss": "hinge", "d_steps": 2}
        return [3.0, 4.0, *[math.inf] * 3] if lost else two_by_two(levels)

    (interaction,) = analysed(TWO_BY_TWO, scores).interactions
    assert interaction.contrast == pytest.approx((3.5 - 6.2) - (9.2 - 10.2))
    assert interaction.interval is None


def test_four_runs_give_no_interval(analysed: Any) -> None:
    (interaction,) = analysed(TWO_BY_TWO, lambda levels: two_by_two(levels)[:4]).interactions
    assert interaction.contrast == pytest.approx(-3)
    assert interaction.interval is None

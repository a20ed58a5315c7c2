"""Figures of merit of an arm and of comparisons, against values found in other ways."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.results.report.analysis import Analysis, analyse
from harness.results.report.arm import ArmAnalysis, Share
from harness.results.report.records import RunRecord

METRIC = "test/fid_digits_cnn_v1_400"
Results = Sequence[float | str]
LOSSES = ["minimax", "hinge", "non_saturating", "least_squares", "wasserstein"]
LOSSES += ["relativistic_average"]
FIVE = [5.0, 1.0, 9.0, 2.0, 4.0]


@pytest.fixture
def analysed(make_records: Any) -> Callable[..., Analysis]:
    """Return a function that analyses a study with these runs."""
    return lambda *given, **more: analyse(make_records(*given, **more))


@pytest.fixture
def one(analysed: Any) -> Callable[..., ArmAnalysis]:
    """Return a function that analyses an arm with these runs."""

    def one(confirm: Results = (), search: Results = ()) -> ArmAnalysis:
        analysis: Analysis = analysed({"minimax": confirm, "hinge": []}, {"minimax": search})
        return analysis.arm("minimax")

    return one


# One arm.


@pytest.mark.parametrize("ending", ["diverged", "failed"])
def test_a_run_without_a_score_ranks_worst(ending: str, one: Any) -> None:
    arm = one([4.0, ending, 2.0])
    assert arm.costs == [4.0, math.inf, 2.0]
    assert [run.trial for run in arm.scored] == [2, 0]


def test_a_collapsed_run_keeps_its_score(make_records: Any) -> None:
    history = make_records({"minimax": [4.0, 7.0], "hinge": []})
    runs = tuple(replace(run, outcome="collapsed") if run.trial else run for run in history.runs)
    arm = analyse(replace(history, runs=runs)).arm("minimax")
    assert arm.costs == [4.0, 7.0]
    assert arm.share("collapsed") == Share(count=1, total=2)


def test_a_metric_of_a_run_that_diverged_is_no_score(make_run: Any) -> None:
    broken = make_run("minimax", "confirm", 0, "diverged", metrics={METRIC: 3.0})
    assert broken.score(METRIC) is None


def test_interquartile_mean_by_hand(one: Any) -> None:
    assert one(FIVE).iqm == pytest.approx((2 + 4 + 5) / 3)
    assert one([*FIVE[:4], "failed"]).iqm == pytest.approx((2 + 5 + 9) / 3)
    assert one([*FIVE[:3], "failed", "diverged"]).iqm is None
    assert one().iqm is None


def test_intervals_need_five_runs(one: Any) -> None:
    assert one(FIVE[:4]).iqm_interval is None
    interval = one(FIVE).iqm_interval
    assert interval is not None
    draws = np.random.default_rng(1).choice(FIVE, (20_000, 5))
    means = stats.trim_mean(draws, 0.25, axis=1)
    assert interval.low == pytest.approx(np.quantile(means, 0.025), abs=0.35)
    assert interval.high == pytest.approx(np.quantile(means, 0.975), abs=0.35)


def test_an_interval_with_a_failure_ends_at_infinity(one: Any) -> None:
    interval = one([*FIVE[:4], "failed"]).iqm_interval
    assert interval is not None
    assert interval.low < 5
    assert interval.high == math.inf


@pytest.mark.parametrize(("count", "total"), [(0, 5), (2, 5), (5, 5), (1, 50)])
def test_wilsons_interval_of_a_share(count: int, total: int) -> None:
    z, share = stats.norm.ppf(0.975), count / total
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total)
    half *= math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    interval = Share(count=count, total=total).interval
    assert interval == pytest.approx((centre - half, centre + half))


def test_shares_of_outcomes(one: Any) -> None:
    arm = one([1.0, "diverged", "failed", "diverged"])
    assert arm.share("diverged") == Share(count=2, total=4)
    assert arm.share("diverged", "failed") == Share(count=3, total=4)
    assert one().share("failed").interval is None


def test_parameters_are_those_that_some_run_recorded(make_records: Any) -> None:
    sizes = {"batch_size": "16", "parameters.generator": "120", "parameters.discriminator": "80"}
    history = make_records({"minimax": [1.0, 2.0], "hinge": [1.0]})
    runs = tuple(replace(r, params=sizes) if r.run_id == "minimax-confirm-1" else r
                 for r in history.runs)  # fmt: skip
    analysis = analyse(replace(history, runs=runs))
    assert analysis.arm("minimax").num_parameters == {"generator": 120, "discriminator": 80}
    assert analysis.arm("hinge").num_parameters == {}


def test_costs(one: Any) -> None:
    arm = one([1.0, "diverged", 3.0], [5.0, "diverged", 4.0])
    assert arm.seconds_per_run == pytest.approx((2 + 4) / 2)  # of the runs with a score
    assert arm.search_seconds == pytest.approx(2 + 3 + 4)
    assert arm.search_images == 3 * 40 * 16
    assert one().seconds_per_run is None
    assert (one().search_seconds, one().search_images) == (0, 0)


def test_mean_of_any_metric_over_the_runs_that_have_it(one: Any) -> None:
    mean, sd = one([1.0, "diverged", 4.0]).metric_mean(METRIC)
    assert (mean, sd) == pytest.approx((2.5, np.std([1, 4], ddof=1)))
    assert all(map(math.isnan, one([1.0]).metric_mean("test/nothing")))


# The search.


@pytest.mark.parametrize(
    "values", [[3.0, 5.0, 1.0, 4.0], [9.0, 2.0, 7.0, 3.0], ["diverged", 2.0, "failed", 6.0]]
)
def test_expected_best_by_all_draws_that_hold_trial_0(values: Results, one: Any) -> None:
    first, *others = [math.inf if isinstance(value, str) else value for value in values]
    expected = [
        float(np.mean([min(first, *drawn) for drawn in itertools.combinations(others, n)]))
        if n
        else first
        for n in range(len(values))
    ]
    assert one([], values).best_of_n == pytest.approx(expected)


def test_a_search_of_one_trial_or_none(one: Any) -> None:
    assert one([], [3.0]).best_of_n == [3.0]
    assert one().best_of_n == []
    assert one().best_so_far == []


def test_best_so_far_follows_the_order_of_the_trials(one: Any) -> None:
    assert one([], ["diverged", 5.0, 7.0, 2.0]).best_so_far == [math.inf, 5.0, 5.0, 2.0]


# Comparisons.


def test_a_contrast_has_the_figures_of_its_definitions(analysed: Any) -> None:
    better, worse = [1.0, 2.5, 3.0, 4.0, 6.5], [5.0, 6.0, 7.0, 8.0, 11.0]
    (contrast,) = analysed({"minimax": worse, "hinge": better}).contrasts
    test = contrast.test
    assert (test.arm, test.baseline) == ("hinge", "minimax")
    scipys = stats.mannwhitneyu(better, worse, method="exact")
    assert test.p_value == pytest.approx(scipys.pvalue)
    assert test.superiority == pytest.approx(1 - scipys.statistic / 25)
    differences = sorted(a - b for a in better for b in worse)
    assert test.difference == differences[12]
    # p exceeds 0.05 once each arm wins three pairs of 25.
    assert (test.difference_interval, test.level) == ((differences[2], differences[22]), 0.05)
    pooled = math.sqrt((np.var(better, ddof=1) + np.var(worse, ddof=1)) / 2)
    correction = math.gamma(4) / math.gamma(3.5) / math.sqrt(4)
    effect = (np.mean(better) - np.mean(worse)) / pooled * correction
    assert contrast.effect_size == pytest.approx(effect)


def test_intervals_need_five_ended_runs_with_or_without_scores(analysed: Any) -> None:
    (contrast,) = analysed({"minimax": FIVE, "hinge": FIVE[:4]}).contrasts
    assert contrast.test.difference_interval is contrast.test.interval is None
    (contrast,) = analysed({"minimax": FIVE, "hinge": [*FIVE[:4], "diverged"]}).contrasts
    assert contrast.test.interval is not None
    assert contrast.test.difference_interval is not None
    assert math.isfinite(contrast.test.difference_interval.low)
    assert contrast.effect_size is not None


def test_an_effect_size_that_is_undefined_is_none(analysed: Any) -> None:
    (contrast,) = analysed({"minimax": FIVE, "hinge": [1.0]}).contrasts
    assert contrast.effect_size is None


def test_the_baseline_of_the_contrasts(analysed: Any, make_records: Any) -> None:
    scores: dict[str, Results] = {"minimax": FIVE, "hinge": FIVE}
    assert analysed(scores).contrasts[0].test.baseline == "minimax"
    assert analyse(make_records(scores), baseline="hinge").contrasts[0].test.baseline == "hinge"
    assert analysed({"minimax": [], "hinge": FIVE}).contrasts == ()


@pytest.mark.parametrize(("count", "expected"), [(2, 0), (3, 3), (4, 6), (6, 15)])
def test_all_pairs_of_three_to_six_arms(count: int, expected: int, analysed: Any) -> None:
    assert len(analysed(dict.fromkeys(LOSSES[:count], FIVE)).pairs) == expected


def test_no_pairs_of_seven_arms_or_of_arms_without_runs(analysed: Any, make_study: Any) -> None:
    steps = {"d_steps": [1, 2, 3, 4, 5, 6, 7]}
    arms = {f"d_steps={k}": FIVE for k in steps["d_steps"]}
    assert analysed(arms, study=make_study(compare=steps)).pairs == ()
    assert analysed({"minimax": FIVE, "hinge": FIVE, "wasserstein": []}).pairs == ()


def test_pairs_are_adjusted_for_their_own_number(analysed: Any) -> None:
    low, middle, high = ([base + i for i in range(5)] for base in (0.0, 100.0, 200.0))
    pairs = analysed({"minimax": low, "hinge": middle, "wasserstein": high}).pairs
    names = [(pair.arm, pair.baseline) for pair in pairs]
    assert names == [("minimax", "hinge"), ("minimax", "wasserstein"), ("hinge", "wasserstein")]
    assert [pair.p_holm for pair in pairs] == pytest.approx([3 * 2 / 252] * 3)
    assert [pair.difference for pair in pairs] == pytest.approx([-100, -200, -100])


# Which runs count.


def test_a_run_that_another_took_the_place_of_does_not_count(analysed: Any, make_run: Any) -> None:
    old = make_run("minimax", "confirm", 0, 100.0, run_id="old", used=False)
    arm = analysed({"minimax": FIVE, "hinge": FIVE}, extra=[old]).arm("minimax")
    assert arm.costs == FIVE
    assert "old" not in {run.run_id for run in arm.confirm}


def test_a_run_that_has_not_ended_does_not_count(one: Any) -> None:
    arm = one([4.0, "running"], [3.0, "running"])
    assert arm.costs == [4.0]
    assert arm.best_so_far == [3.0]
    assert [run.trial for run in (*arm.confirm, *arm.search)] == [0, 0]


# Floors.


def test_a_floor_is_found_by_the_whole_name_of_its_figure(make_records: Any) -> None:
    """KID's own protocol stands at the end of its keys, and of no other figure's."""
    kid = "digits_cnn_v1_400_7_subsets"
    known = {
        f"test/kid_{kid}": 0.3, f"test/kid_floor_{kid}": 0.01, f"test/kid_floor_sd_{kid}": 0.002,
        "test/fid_floor_digits_cnn_v1_400": 0.5,
    }  # fmt: skip

    def scored(run: RunRecord) -> RunRecord:
        return replace(run, metrics={**run.metrics, **known})

    analysis = analyse(make_records({"minimax": [4.0], "hinge": [3.0]}, edit=scored))
    fid, kid_figure = (f for f in analysis.figures if f.name in ("fid", "kid"))
    assert analysis.floor(fid) == (0.5, None)
    assert analysis.floor(kid_figure) == (0.01, 0.002)

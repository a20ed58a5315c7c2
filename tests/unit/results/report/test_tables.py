"""Numbers as text, and what stands in which table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from harness.results.report.analysis import Analysis, analyse
from harness.results.report.records import RunRecord
from harness.results.report.tables import Table, build_tables
from harness.results.spelling import decimals, number, p_text, plus_minus, with_interval
from harness.statistics import Interval, hedges_g
from harness.study.study import StudyConfig

METRIC, OBJECTIVE = "test/fid_digits_cnn_v1_400", "val/fid_digits_cnn_v1_400"
Results = Sequence[float | str]
FIVE, TEN_MORE = [1.0, 2.0, 3.0, 4.0, 5.0], [11.0, 12.0, 13.0, 14.0, 15.0]

# Numbers.


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (1, "1.00"), (0.5, "0.500"), (12.345, "12.3"), (123.4, "123"), (12345.6, "12346"),
        (0.00123456, "0.00123"), (-2.5, "−2.50"), (-0.0125, "−0.0125"), (None, "–"),
        (math.nan, "–"), (math.inf, "–"), (-math.inf, "–"),
    ],
)  # fmt: skip
def test_three_significant_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_number_with_given_places_or_a_sign() -> None:
    assert number(1.005, places=1) == "1.0"
    assert number(3, sign=True) == "+3.00"
    assert number(-3, sign=True, places=0) == "−3"
    assert number(0.16, places=0) == "0"


@pytest.mark.parametrize(
    ("value", "significant", "places"),
    [(0, 3, 0), (1, 3, 2), (9.99, 2, 1), (10, 2, 0), (0.01, 2, 3), (-0.5, 1, 1), (1e6, 3, 0)],
)
def test_decimals(value: float, significant: int, places: int) -> None:
    assert decimals(value, significant) == places


@pytest.mark.parametrize(
    ("mean", "sd", "text"),
    [
        (12.3456, 0.5678, "12.35 ± 0.57"),
        (1234.5, 67.8, "1234 ± 68"),  # halves to even
        (0.01234, 0.000567, "0.01234 ± 0.00057"),
        pytest.param(
            0.5, 0.0, "0.500 ± 0.000",
        ),
        (12.3456, None, "12.3"),
        (None, None, "–"),
    ],
)  # fmt: skip
def test_plus_minus_has_the_digits_of_the_sd(
    mean: float | None, sd: float | None, text: str
) -> None:
    assert plus_minus(mean, sd) == text


@pytest.mark.parametrize(
    ("value", "interval", "options", "text"),
    [
        (1.0, Interval(0.64, 1.0), {"places": 2}, "1.00 [0.64, 1.00]"),
        (-10.0, Interval(-11.8, -8.24), {"sign": True}, "−10.0 [−11.8, −8.2]"),
        (0.5, Interval(-1.25, 2.5), {"sign": True}, "+0.500 [−1.250, +2.500]"),
        (3.0, Interval(1.6, math.inf), {}, "3.00 [1.60, ∞]"),
        (3.0, Interval(3.0, 3.0), {}, "3.00 [3.00, 3.00]"),
        (3.0, None, {}, "3.00"),
        (3.0, None, {"sign": True}, "+3.00"),
        (None, Interval(1.0, math.inf), {}, "–"),
    ],
)
def test_a_value_and_its_interval_have_the_same_decimals(
    value: float | None, interval: Interval | None, options: dict[str, Any], text: str
) -> None:
    assert with_interval(value, interval, **options) == text


@pytest.mark.parametrize(
    ("p_value", "text"),
    [(1, "1.0000"), (0.05, "0.0500"), (2 / 252, "0.0079"), (1e-4, "0.0001"), (9e-5, "< 0.0001")],
)
def test_p_values(p_value: float, text: str) -> None:
    assert p_text(p_value) == text


# Tables.


@pytest.fixture
def study(make_study: Any) -> Callable[..., StudyConfig]:
    """Return a function that makes studies in which a rate and a whole number are tuned."""
    space = {"g_lr": {"low": 1e-4, "high": 1e-2, "log": True}, "batch_size": [16, 1024]}
    common = {"space": space, "search": {"trials_per_arm": 3}}
    return lambda **changes: make_study(**common | changes)


def told_apart(run: RunRecord) -> RunRecord:
    """Give a run more metrics, other scores on validation than on test, and a seed of its own."""
    metrics = dict(run.metrics)
    if OBJECTIVE in metrics:
        metrics[OBJECTIVE] *= 2
    if METRIC in metrics:
        metrics[METRIC.replace("fid", "kid")] = metrics[METRIC] / 100
        metrics[METRIC.replace("fid", "feature_spread")] = 0.5
    return replace(run, metrics=metrics, seed=100 + run.trial)


@pytest.fixture
def analysed(study: Any, make_records: Any) -> Callable[..., Analysis]:
    """Return a function that analyses a study with these runs, the same search in every arm."""

    def analysed(
        confirm: Mapping[str, Results], search: Results = (), definition: StudyConfig | None = None
    ) -> Analysis:
        return analyse(
            make_records(
                confirm,
                dict.fromkeys(confirm, search),
                definition or study(compare={"loss": list(confirm)}),
                best={"g_lr": 0.00123456, "batch_size": 1024},
                edit=told_apart,
            )
        )

    return analysed


def tables(analysis: Analysis) -> dict[str, Table]:
    built = build_tables(analysis)
    found = {table.name: table for table in built}
    assert len(found) == len(built)
    for table in built:
        assert table.rows
        assert table.caption.endswith((".", "runs.csv."))
        for row in table.rows:
            assert len(row.cells) == len(table.columns)
            assert all(isinstance(text, str) and text for text in row.cells)
    return found


def ids(arm: str, phase: str, count: int) -> tuple[str, ...]:
    return tuple(f"{arm}-{phase}-{index}" for index in range(count))


WHOLE: dict[str, Results] = {"minimax": TEN_MORE, "hinge": FIVE}


def test_results(analysed: Any) -> None:
    lost: dict[str, Results] = {"minimax": FIVE, "hinge": [3.0, "diverged", 1.0]}
    first, second = tables(analysed(lost))["results"].rows
    assert first.cells[:4] == ("minimax", "5/5", "3.0 ± 1.6", "3.00")
    assert first.cells[4].startswith("3.00 [")
    assert first.cells[5] == "1.00"
    assert second.cells == ("hinge", "2/3", "2.0 ± 1.4", "3.00", "–", "1.00")
    assert first.run_ids == ids("minimax", "confirm", 5)
    assert second.run_ids == ids("hinge", "confirm", 3)


def test_the_comparison(analysed: Any) -> None:
    table = tables(analysed(WHOLE))["comparison"]
    (row,) = table.rows
    assert row.cells[:5] == (
        "hinge against minimax", "1.00 [0.64, 1.00]", "0.0079", "0.0079", "0.0079",
    )  # fmt: skip
    assert row.cells[5].startswith("−10.0 [−")
    assert row.cells[6] == "−5.71"  # 10 / sqrt(2.5), corrected by 0.9027
    assert row.run_ids == ids("hinge", "confirm", 5) + ids("minimax", "confirm", 5)
    assert "over 1 test." not in table.caption
    assert "over 1 test;" in table.caption


def test_failures(analysed: Any) -> None:
    outcomes: dict[str, Results] = {"minimax": FIVE, "hinge": [1.0, "diverged", "failed", "failed"]}
    table = tables(analysed(outcomes, search=["diverged", "pruned", 2.0]))["failures"]
    assert table.rows[0].cells[1:] == (
        "0/5 [0, 43]", "0/5 [0, 43]", "0/5 [0, 43]", "1 diverged, 1 pruned of 3",
    )  # fmt: skip
    assert table.rows[1].cells[1:4] == ("1/4 [5, 70]", "0/4 [0, 49]", "2/4 [15, 85]")
    assert table.rows[1].run_ids == ids("hinge", "confirm", 4) + ids("hinge", "search", 3)


def test_costs(analysed: Any) -> None:
    row = tables(analysed(WHOLE, search=[3.0, 2.0]))["cost"].rows[0]
    images = 2 * 40 * 16
    shown = int(row.cells[8].replace(",", ""))
    # Five runs of 2 to 6 seconds; early records know no operations, load or workers.
    assert row.cells[:8] == ("minimax", "–", "–", "–", "4.0 ± 1.6", "–", "–", "2")
    assert shown >= images  # the second trial's batch size is drawn
    assert row.cells[9] == "5.00"
    assert tables(analysed(WHOLE))["cost"].rows[0].cells[7:] == ("–", "–", "–")


def test_costs_as_runs_record_them(analysed: Any) -> None:
    def recorded(run: RunRecord) -> RunRecord:
        more = {"progress/flops": 1.2e13 + run.trial, "progress/load": 0.5 + run.trial / 10}
        params = {"machine.workers": "2", "threads": "1"}
        return replace(run, metrics={**run.metrics, **more}, params={**run.params, **params})

    analysis: Analysis = analysed(WHOLE)
    arms = tuple(
        replace(arm, confirm=tuple(recorded(run) for run in arm.confirm)) for arm in analysis.arms
    )
    row = tables(replace(analysis, arms=arms))["cost"].rows[0]
    assert row.cells[3:7] == ("1.2e13", "4.0 ± 1.6", "0.700", "2 × 1")


def test_settings(analysed: Any) -> None:
    table = tables(analysed(WHOLE, search=[3.0, 2.0]))["settings"]
    assert table.rows[0].cells == (
        "minimax", "g_lr", "[0.0001, 0.01] log", "0.0002", "0.00123",
    )  # fmt: skip
    assert [row.run_ids for row in table.rows[::2]] == [
        ids("minimax", "search", 2), ids("hinge", "search", 2),
    ]  # fmt: skip


def test_whole_numbers_are_spelt_whole(analysed: Any) -> None:
    table = tables(analysed(WHOLE, search=[3.0, 2.0]))["settings"]
    assert table.rows[1].cells == ("minimax", "batch_size", "{16, 1024}", "16", "1024")


def test_an_arm_that_no_setting_survived_has_no_confirmed_value(analysed: Any) -> None:
    analysis = analysed(WHOLE, search=[3.0])
    states = tuple(replace(state, best=None) for state in analysis.records.states)
    table = tables(analyse(replace(analysis.records, states=states)))["settings"]
    assert {row.cells[4] for row in table.rows} == {"–"}


def test_other_metrics(analysed: Any) -> None:
    (first, _) = tables(analysed(WHOLE))["metrics"].rows
    assert first.cells[:3] == ("minimax", "26.0 ± 3.2", "0.130 ± 0.016")
    lost: dict[str, Results] = {"minimax": FIVE, "hinge": ["failed"]}
    assert [row.cells[0] for row in tables(analysed(lost))["metrics"].rows] == ["minimax"]


JUDGED = "test/fid_digits_judge_v1_400"


def judged(run: RunRecord) -> RunRecord:
    """Add what a second ruler says of the later runs, as of a study that went on with one."""
    run = told_apart(run)
    if METRIC not in run.metrics or run.trial == 0:
        return run
    floors = {"test/fid_floor_digits_judge_v1_400": 0.25, METRIC.replace("fid", "fid_floor"): 0.5}
    own = {JUDGED: 10 * run.metrics[METRIC], JUDGED.replace("fid", "coverage"): 0.75}
    params = {**run.params, "evaluate.judge": "digits_judge_v1"}
    return replace(run, metrics={**own, **run.metrics, **floors}, params=params)


def test_a_second_ruler_has_a_table_of_its_own(study: Any, make_records: Any) -> None:
    definition = study(compare={"loss": list(WHOLE)})
    best = {"g_lr": 0.001, "batch_size": 16}
    plain, both = (
        analyse(make_records(WHOLE, {}, definition, best=best, edit=edit))
        for edit in (told_apart, judged)
    )
    assert "judge" not in tables(plain)
    assert plain.judged == ()
    found = tables(both)
    assert found["judge"].columns == ("arm", "FID", "coverage")
    assert found["judge"].rows[0].cells == ("real images", "0.250", "–")
    assert found["judge"].rows[2].cells[0] == "hinge"
    means = both.arm("hinge").metric_mean(JUDGED)
    assert found["judge"].rows[2].cells[1:] == (plus_minus(*means), "0.750 ± 0.000")
    assert "digits_judge_v1" in found["judge"].caption

    # Nothing else is touched by it.
    assert both.figures == plain.figures
    assert both.floor(both.figure) == (0.5, None)
    assert both.floor(both.figure, judged=True) == (0.25, None)
    for arm in both.arms:
        assert arm.key(both.figure) == METRIC
        assert arm.key(both.figure, judged=True) == JUDGED
    for name in ("results", "comparison", "runs"):
        assert [row.cells for row in found[name].rows] == [
            row.cells for row in tables(plain)[name].rows
        ]


def test_every_run_has_a_row_of_its_own(analysed: Any) -> None:
    lost: dict[str, Results] = {"minimax": [4.0, "diverged"], "hinge": [3.0]}
    table = tables(analysed(lost, search=[2.0, "failed"]))["runs"]
    names = [row.cells[0] for row in table.rows]
    assert names == [
        "minimax search 0", "minimax search 1", "minimax confirm 0", "minimax confirm 1",
        "hinge search 0", "hinge search 1", "hinge confirm 0",
    ]  # fmt: skip
    assert [row.run_ids for row in table.rows] == [(name.replace(" ", "-"),) for name in names]
    assert table.rows[0].cells[3:] == ("finished", "4.00", "–")
    assert table.rows[2].cells[1] == "100"
    assert table.rows[2].cells[3:] == ("finished", "8.00", "4.00")
    assert table.rows[3].cells[3:] == ("diverged", "–", "–")
    assert table.rows[0].cells[2].startswith("g_lr = 0.0002, batch_size = ")


def test_effects_and_interactions(analysed: Any, study: Any) -> None:
    compare = {"loss": ["minimax", "hinge"], "d_steps": [1, 2]}
    definition = study(compare=compare, space={})
    arms = {arm.name: FIVE for arm in definition.arms()}
    found = tables(analysed(arms, definition=definition))
    assert [row.cells[:3] for row in found["effects"].rows] == [
        ("loss: hinge against minimax", "2 of 2", "0.50"),
        ("d_steps: 2 against 1", "2 of 2", "0.50"),
    ]  # fmt: skip
    assert len(found["effects"].rows[0].run_ids) == 20
    (row,) = found["interactions"].rows
    assert row.cells[0] == "loss minimax → hinge and d_steps 1 → 2"
    assert row.cells[1].startswith("+0.0 [−")
    assert len(row.run_ids) == 20
    assert len(found["pairs"].rows) == 6


def test_pairs_name_the_runs_of_both_arms(analysed: Any) -> None:
    three: dict[str, Results] = {"minimax": FIVE, "hinge": TEN_MORE, "wasserstein": FIVE}
    row = tables(analysed(three))["pairs"].rows[1]
    assert row.cells[0] == "minimax against wasserstein"
    assert row.cells[2:4] == ("1.0000", "1.0000")
    assert row.cells[4].startswith("+0")
    assert row.run_ids == ids("minimax", "confirm", 5) + ids("wasserstein", "confirm", 5)


def test_tables_without_rows_are_left_out(analysed: Any, study: Any) -> None:
    found = tables(analysed({"minimax": FIVE, "hinge": []}, definition=study(space={})))
    assert set(found) == {"results", "failures", "cost", "metrics", "runs"}
    assert set(tables(analysed(WHOLE))) == {
        "results", "comparison", "axes", "failures", "cost", "settings", "metrics", "runs",
    }  # fmt: skip


def test_a_comparison_at_a_look_is_of_its_first_runs(analysed: Any, study: Any) -> None:
    """Also Hedges' g and the list of runs; the baseline went on to eight for another arm."""
    later = [50.0, 60.0, 70.0]
    scores = {"minimax": [*TEN_MORE, *later], "hinge": FIVE, "wasserstein": [*TEN_MORE, *later]}
    plan = {"compare": {"loss": list(scores)}, "space": {}, "confirm": {"looks": [5, 8]}}
    analysis = analysed(scores, definition=study(**plan))
    first, second = (contrast.effect_size for contrast in analysis.contrasts)
    assert first == pytest.approx(hedges_g(FIVE, TEN_MORE))
    assert second == 0
    found = tables(analysis)
    row, other = found["comparison"].rows
    assert row.cells[0] == "hinge against minimax over the first 5 seeds"
    assert other.cells[0] == "wasserstein against minimax"
    assert (len(row.run_ids), len(other.run_ids)) == (10, 16)
    assert "Over all runs; comparisons are of those that both" in found["results"].caption
    assert "unadjusted" in found["comparison"].caption
    assert "unadjusted" in found["pairs"].caption
    names = ("hinge against minimax over the first 5 seeds", "wasserstein against minimax")
    assert [each.cells[0] for each in found["axes"].rows] == [
        f"{name}: {axis}" for name in names for axis in ("diversity", "memorisation", "stability")
    ]
    assert found["axes"].rows[2].cells[2:4] == ("0/5, 1.58", "0/5, 1.58")


def test_marginal_effects_have_their_axes(analysed: Any, study: Any) -> None:
    factors = {"d_steps": [1, 2], "loss": ["minimax", "hinge"]}
    definition = study(compare=factors, primary="marginal", space={})
    scores = {arm.name: [*FIVE[:4], "failed"] for arm in definition.arms()}
    found = tables(analysed(scores, definition=definition))
    first = next(row for row in found["axes"].rows if row.cells[0].endswith("stability"))
    assert first.cells[:4] == (
        "d_steps: 2 against 1: stability",
        "runs lost, sd",
        *["2/10, 1.29"] * 2,
    )
    assert len(first.run_ids) == 20

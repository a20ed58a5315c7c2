"""What is tuned: from positions in [0, 1) to values, and the points that a search tries."""

from __future__ import annotations

import math
from collections import Counter
from typing import Annotated, Any, Optional

import numpy as np
import pytest
from pydantic import Field
from scipy.stats import qmc

from harness.config import Config, Count, parse
from harness.errors import HarnessError
from harness.study.space import (
    Choice,
    Range,
    Sampler,
    Space,
    corner_points,
    default_point,
    draw_points,
    read_space,
)
from harness.systems.gan import GANConfig

NEARLY_ONE = math.nextafter(1.0, 0.0)
SPACE: Space = {
    "d_steps": Choice(values=(1, 2, 5)),
    "g_lr": Range(low=1e-5, high=1e-2, log=True),
    "adam_beta1": Range(low=0.0, high=0.9),
}
FIRST = {"d_steps": 1, "g_lr": 2e-4, "adam_beta1": 0.5}


def units(count: int) -> list[float]:
    return [(index + 0.5) / count for index in range(count)]


def points(sampler: Sampler, count: int | None, seed: int = 0, space: Space = SPACE) -> Any:
    return draw_points(space, FIRST, sampler, count, seed)


def refusal(model: Any, values: dict[str, Any]) -> str:
    with pytest.raises(HarnessError) as caught:
        parse(model, values, "file")
    return str(caught.value)


# From a position to a value.


def test_a_list_is_cut_into_equal_pieces() -> None:
    choice = Choice(values=(5, 1, 2, "x"))
    assert [choice.at(unit) for unit in (0, 0.2499, 0.25, 0.5, 0.75)] == [5, 5, 1, 2, "x"]
    assert choice.at(NEARLY_ONE) == "x"
    assert set(Counter(map(choice.at, units(400))).values()) == {100}


def test_a_linear_range() -> None:
    span = Range(low=-1.0, high=3.0)
    assert [span.at(unit) for unit in (0, 0.25, 0.5, 0.75)] == [-1.0, 0.0, 1.0, 2.0]
    assert 3.0 - 1e-12 < span.at(NEARLY_ONE) <= 3.0


def test_a_log_range_is_uniform_in_the_logarithm() -> None:
    span = Range(low=1e-5, high=1e-1, log=True)
    got = [span.at(unit) for unit in (0, 0.25, 0.5, 0.75)]
    assert got == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2], rel=1e-12)
    assert span.at(0.0) >= 1e-5
    assert span.at(NEARLY_ONE) <= 1e-1


@pytest.mark.parametrize(("low", "high"), [(1, 5), (0, 1), (3, 12)])
def test_every_whole_number_is_equally_likely_ends_included(low: int, high: int) -> None:
    span = Range(low=low, high=high, integer=True)
    num = high - low + 1
    counts = Counter(map(span.at, units(num * 100)))
    assert counts == dict.fromkeys(range(low, high + 1), 100)
    assert (span.at(0.0), span.at(NEARLY_ONE)) == (low, high)
    assert all(type(value) is int for value in counts)


@pytest.mark.parametrize(("low", "high"), [(1, 5), (2, 64)])
def test_whole_numbers_on_a_log_axis_have_their_share_of_it(low: int, high: int) -> None:
    span = Range(low=low, high=high, log=True, integer=True)
    num = 50_000
    counts = Counter(map(span.at, units(num)))
    assert sorted(counts) == list(range(low, high + 1))
    assert all(type(value) is int for value in counts)
    for value, count in counts.items():
        share = math.log((value + 1) / value) / math.log((high + 1) / low)
        assert count == pytest.approx(num * share, abs=1.5)
    assert (span.at(0.0), span.at(NEARLY_ONE)) == (low, high)


def test_values_never_leave_the_range_by_rounding() -> None:
    for low, high in [(1e-5, 1e-2), (3e-4, 3e-3), (0.1, 100.0), (0.01, 1.0)]:
        span = Range(low=low, high=high, log=True)
        for unit in (0.0, math.ulp(0.0), 1e-16, 0.5, NEARLY_ONE):
            assert low <= span.at(unit) <= high


# What a range may say.


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"low": 1.0, "high": 0.1}, "low = 1.0 must be below high = 0.1"),
        ({"low": 1.0, "high": 1.0}, "low = 1.0 must be below high = 1.0"),
        ({"low": math.nan, "high": 1.0}, "must be below"),
        ({"low": 0.0, "high": 1.0, "log": True}, "low = 0.0: a log range must start above 0"),
        ({"low": -1.0, "high": 1.0, "log": True}, "low = -1.0"),
        ({"low": 1.0, "high": 2.0, "default": 3.0}, "default = 3.0 is outside [1.0, 2.0]"),
        ({"low": 1.0, "hi": 2.0}, "unknown key 'hi'; did you mean 'high'?"),
        ({"low": 1.0}, "high is missing"),
        ({"low": 1.0, "high": 2.0, "num": 1}, "num = 1: "),
        ({"low": "1e-4", "high": 2.0}, "low = '1e-4': "),
        ({"low": 1.0, "high": 2.0, "log": 1}, "log = 1: "),
    ],
)
def test_impossible_ranges_are_refused(values: dict[str, Any], words: str) -> None:
    assert words in refusal(Range, values)


@pytest.mark.parametrize(
    ("values", "culprit"),
    [
        ({"low": 1.5, "high": 4}, "1.5"),
        ({"low": 1, "high": 4.5}, "4.5"),
        ({"low": 1, "high": 5, "default": 2.5}, "2.5"),
    ],
)
def test_a_range_of_whole_numbers_is_written_in_whole_numbers(
    values: dict[str, Any], culprit: str
) -> None:
    """Else it would be cut off silently: a low of 1.5 tries 1, which lies outside."""
    assert culprit in refusal(Range, {**values, "integer": True})


def test_impossible_lists_are_refused() -> None:
    assert "a value is listed twice" in refusal(Choice, {"values": [1, 2, 1]})
    assert "values = []" in refusal(Choice, {"values": []})
    assert Choice(values=(1, 1.0, True)).values == (1, 1.0, True)  # three different words in TOML


def test_what_a_parameter_contains() -> None:
    assert Choice(values=("a", "b")).contains("a")
    assert not Choice(values=("a", "b")).contains("c")
    span = Range(low=1.0, high=2.0)
    assert [span.contains(value) for value in (0.99, 1, 2.0, 2.01, "1", None)] == [
        False, True, True, False, False, False,
    ]  # fmt: skip


def test_reading_a_table_says_which_ranges_hold_whole_numbers() -> None:
    raw = {
        "d_steps": {"low": 1, "high": 5},
        "g_width": {"low": 8, "high": 64, "log": True},
        "g_lr": {"low": 1e-5, "high": 1e-2},
        "penalty_weight": {"low": 1, "high": 10},
        "loss": ["hinge", "minimax"],
    }
    read = read_space(raw)
    assert read["loss"] == {"values": ["hinge", "minimax"]}
    whole = {key: value["integer"] for key, value in read.items() if key != "loss"}
    assert whole == {"d_steps": True, "g_width": True, "g_lr": False, "penalty_weight": False}
    assert read_space(read) == read
    assert "integer" not in raw["d_steps"]


class Odd(Config):
    """Settings that need not be given."""

    maybe: int | None = None
    optional: Optional[int] = None  # noqa: UP045
    limited: Count | None = None
    positive: Annotated[int | None, Field(gt=0)] = None
    real: float | None = None
    either: int | float = 1
    word: int | str = "all"


def test_a_setting_that_may_be_none_takes_whole_numbers_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("harness.study.space.known_settings", lambda: Odd.model_fields)
    read = read_space({key: {"low": 1, "high": 4} for key in Odd.model_fields})
    whole = [key for key, value in read.items() if value["integer"]]
    assert whole == ["maybe", "optional", "limited", "positive", "word"]
    assert parse(Range, read["limited"], "x").at(0.9) == 4


# Trial 0.


def test_defaults_are_the_settings_where_they_are_legal() -> None:
    settings = GANConfig.model_validate({}).model_dump()
    space: Space = {
        "d_steps": Choice(values=(5, 1)),
        "batch_size": Choice(values=(32, 128)),  # 64 is not among them: the first
        "g_lr": Range(low=1e-5, high=1e-2, log=True),
        "d_lr": Range(low=1e-5, high=1e-2, log=True, default=1e-3),
        "latent_dim": Range(low=2, high=200, integer=True),
        "g_width": Range(low=2, high=200, integer=True, default=16),
    }
    point = default_point(space, settings)
    assert point == {
        "d_steps": 1, "batch_size": 32, "g_lr": 2e-4, "d_lr": 1e-3, "latent_dim": 100,
        "g_width": 16,
    }  # fmt: skip
    assert list(point) == list(space)
    assert type(point["latent_dim"]) is type(point["g_width"]) is int


def test_a_default_outside_its_range_is_refused() -> None:
    space: Space = {"g_lr": Range(low=1e-3, high=1e-2)}
    with pytest.raises(HarnessError, match=r"space\.g_lr: the default 0\.0002 is outside \[0\.001"):
        default_point(space, {"g_lr": 2e-4})
    with pytest.raises(HarnessError, match=r"space\.penalty_weight: penalty_weight is off where"):
        default_point({"penalty_weight": Range(low=1, high=2)}, {"penalty_weight": None})


@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe"])
def test_the_first_point_is_the_default(sampler: Sampler) -> None:
    assert points(sampler, 1) == [FIRST]
    assert points(sampler, 4)[0] == FIRST
    assert len(points(sampler, 4)) == 4


@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe", "grid"])
def test_with_nothing_to_tune_there_is_one_point(sampler: Sampler) -> None:
    assert draw_points({}, {}, sampler, 7, 0) == [{}]


# Further trials.


@pytest.mark.parametrize("sampler", ["random", "qmc"])
@pytest.mark.parametrize(("few", "many"), [(1, 2), (2, 3), (5, 8), (8, 9), (9, 10), (17, 33)])
def test_more_points_extend_fewer(sampler: Sampler, few: int, many: int) -> None:
    assert points(sampler, many)[:few] == points(sampler, few)


@pytest.mark.parametrize("sampler", ["random", "qmc"])
def test_points_are_a_function_of_the_seed(sampler: Sampler) -> None:
    assert points(sampler, 9, seed=3) == points(sampler, 9, seed=3)
    one, other = points(sampler, 9, seed=3), points(sampler, 9, seed=4)
    assert all(a != b for a, b in zip(one[1:], other[1:], strict=True))


@pytest.mark.parametrize("sampler", ["random", "qmc"])
def test_points_are_distinct_and_inside(sampler: Sampler) -> None:
    drawn = points(sampler, 40)
    assert len({repr(point) for point in drawn}) == 40
    for point in drawn:
        assert list(point) == list(SPACE)
        assert all(SPACE[key].contains(value) for key, value in point.items())
    assert {point["d_steps"] for point in drawn} == {1, 2, 5}


def test_sobol_points_fill_the_space_better_than_random_ones() -> None:
    space: Space = {"g_dropout": Range(low=0, high=1), "d_dropout": Range(low=0, high=1)}

    def unevenness(sampler: Sampler, seed: int) -> float:
        drawn = draw_points(space, {}, sampler, 65, seed)[1:]
        rows = [list(point.values()) for point in drawn if point]
        return float(qmc.discrepancy(np.array(rows)))

    sobol = [unevenness("qmc", seed) for seed in range(5)]
    random = [unevenness("random", seed) for seed in range(5)]
    assert max(sobol) < min(random) / 2


def test_random_points_are_uniform_and_independent_across_parameters() -> None:
    space: Space = {"g_dropout": Range(low=0, high=1), "d_dropout": Range(low=0, high=1)}
    rows = [list(p.values()) for p in draw_points(space, {}, "random", 2001, 0)[1:] if p]
    values = np.array(rows, dtype=float)
    assert values.mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.03)  # 4.6 standard errors
    assert values.std(axis=0) == pytest.approx([0.2887, 0.2887], abs=0.015)
    assert abs(np.corrcoef(values.T)[0, 1]) < 0.1


def test_tpe_leaves_all_but_the_first_open() -> None:
    assert points("tpe", 5) == [FIRST, None, None, None, None]


# The grid and the corners.


def test_grid_values() -> None:
    assert Choice(values=(3, 1)).grid() == [3, 1]
    assert Range(low=0, high=1, num=5).grid() == [0, 0.25, 0.5, 0.75, 1]
    log = Range(low=1e-4, high=1e-2, log=True, num=3).grid()
    assert log == pytest.approx([1e-4, 1e-3, 1e-2], rel=1e-12)
    assert (log[0], log[-1]) == (1e-4, 1e-2)  # exactly, so that they are inside
    whole = Range(low=1, high=4, integer=True, num=10).grid()
    assert whole == [1, 2, 3, 4]
    assert all(type(value) is int for value in whole)
    with pytest.raises(HarnessError, match="the grid sampler needs num"):
        Range(low=0, high=1).grid()


def test_a_grid_is_the_product_with_the_defaults_first() -> None:
    space: Space = {"d_steps": Choice(values=(1, 2)), "g_lr": Range(low=1, high=3, num=3)}
    inside = {"d_steps": 2, "g_lr": 2.0}
    drawn = draw_points(space, inside, "grid", None, 0)
    assert drawn[0] == inside
    assert len(drawn) == 6
    assert {(p["d_steps"], p["g_lr"]) for p in drawn if p} == {
        (k, lr) for k in (1, 2) for lr in (1, 2, 3)
    }
    outside = {"d_steps": 2, "g_lr": 2.5}
    assert draw_points(space, outside, "grid", None, 0)[0] == outside
    assert len(draw_points(space, outside, "grid", 7, 0)) == 7


def test_a_grid_has_the_number_of_points_that_it_has() -> None:
    space: Space = {"d_steps": Choice(values=(1, 2, 5))}
    assert len(draw_points(space, {"d_steps": 1}, "grid", 3, 0)) == 3
    for count in (2, 4):
        with pytest.raises(HarnessError) as caught:
            draw_points(space, {"d_steps": 1}, "grid", count, 0)
        expected = f"search.trials_per_arm = {count}: this grid has 3 points, its defaults included"
        assert str(caught.value).startswith(expected)


def test_corners_are_all_extremes() -> None:
    space: Space = {
        "loss": Choice(values=("hinge", "minimax", "wasserstein")),
        "d_steps": Range(low=1, high=5, integer=True),
        "g_lr": Range(low=1e-5, high=1e-2, log=True),
    }
    corners = corner_points(space)
    assert len(corners) == len({repr(corner) for corner in corners}) == 12
    assert {corner["loss"] for corner in corners} == {"hinge", "minimax", "wasserstein"}
    assert {corner["d_steps"] for corner in corners} == {1, 5}
    assert all(type(corner["d_steps"]) is int for corner in corners)
    assert {corner["g_lr"] for corner in corners} == {1e-5, 1e-2}
    assert corner_points({}) == [{}]
    assert corner_points(space, limit=5) == corners[:5]

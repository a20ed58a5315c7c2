"""Reports of descriptive studies: arms side by side, and no word of a rank."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from harness.results.report.analysis import Analysis, analyse
from harness.results.report.answer import answer, notices
from harness.results.report.methods import methods
from harness.results.report.records import merge
from harness.results.report.tables import build_tables
from harness.results.report.threats import threats

NOTHING: Mapping[str, Any] = {}
METRIC, OBJECTIVE = "test/fid_digits_cnn_v1_400", "val/fid_digits_cnn_v1_400"
Results = Sequence[float | str]
LOW = [float(i) for i in range(1, 11)]
HIGH = [float(i) for i in range(101, 111)]
SEARCH = (500.0, 90.0, 300.0)  # the second trial is the best by far
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MIDDLE = {"g_lr": 1e-3}


@pytest.fixture
def shown(make_study: Any, make_records: Any, add_preset: Any) -> Callable[..., Analysis]:
    """Return a function that analyses a descriptive study of two presets with these runs."""
    add_preset("long", budget={"images": 2000}, deviations=["z is smaller."])
    add_preset("short", budget={"images": 700})
    study = make_study(
        compare={"preset": ["long", "short"]}, budget={"preset": 1}, space={},
        confirm={"seeds": 1}, descriptive=True,
    )  # fmt: skip
    return lambda long, short: analyse(make_records({"long": long, "short": short}, study=study))


RANKING = re.compile(
    r"beats|loses to|resolved|better than|P\(|\bp\b|Mann|Holm|baseline|in all tests"
)


def test_a_descriptive_study_speaks_of_no_rank(shown: Any) -> None:
    for analysis in (shown([9.0], [1.0]), shown([9.0] * 5, ["diverged", *[1.0] * 4])):
        said = [
            answer(analysis), *notices(analysis), *threats(analysis, {}),
            *methods(analysis, [analysis.records]),
        ]  # fmt: skip
        for text in said:
            assert not RANKING.search(text), text
        assert said[0].startswith("Budgets differ; nothing is ranked. Test FID in the file's order")
        assert (*analysis.contrasts, *analysis.pairs, *analysis.effects) == ()
        names = {table.name for table in build_tables(analysis)}
        assert {"results", "cost", "runs"} <= names
        assert not {"comparison", "pairs", "effects", "interactions"} & names
        table = next(each for each in build_tables(analysis) if each.name == "results")
        assert [row.cells[0] for row in table.rows] == ["long", "short"]


def test_a_descriptive_study_with_one_run_an_arm_says_that_it_is_one(shown: Any) -> None:
    assert any(
        text.startswith("Few seeds: 1 run in an arm") for text in threats(shown([9], [1]), {})
    )


def test_methods_describe_the_presets(shown: Any) -> None:
    (text, *_) = methods((analysis := shown([9.0], [1.0])), [analysis.records])
    assert "Arms: long, short; nothing is ranked." in text
    assert "Preset long: System long. z is smaller. Preset short: System short." in text
    assert "2,000 real images (long); 700 real images (short) each" in text


def test_nothing_is_ranked_beside_a_descriptive_study(make_study: Any, make_records: Any) -> None:
    ranked = make_records({"minimax": LOW, "hinge": HIGH}, name="one")
    asked = make_study(
        confirm={"seeds": 10}, descriptive=True, compare={"loss": ["minimax", "hinge"]}, space={}
    )
    shown = make_records({"minimax": LOW, "hinge": HIGH}, study=asked, name="two")
    for pair in ([ranked, shown], [shown, ranked]):
        merged = merge(pair)
        analysis = analyse(merged, baseline=merged.states[0].arm.name)
        assert analysis.contrasts == ()
        assert answer(analysis).startswith("The study is descriptive; nothing is ranked.")

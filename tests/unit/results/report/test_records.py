"""Studies beside each other, and runs as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.results.report.analysis import analyse
from harness.results.report.records import (
    RunRecord,
    StudyRecords,
    check_same_protocol,
    joint_name,
    merge,
    runs_csv,
)

METRIC = "test/fid_digits_cnn_v1_400"


@pytest.fixture
def records(make_study: Any, make_records: Any) -> Callable[..., StudyRecords]:
    """Return a function that makes a study of two arms with two runs each."""

    def records(name: str = "one", shift: float = 0.0, **changes: Any) -> StudyRecords:
        study = make_study(**{"question": f"What of {name}?", "space": {}} | changes)
        made: StudyRecords = make_records(
            {
                arm.name: [shift + place + i / 10 for i in (1, 2)]
                for place, arm in enumerate(study.arms())
            },
            study=study,
            name=name,
            importances={"minimax": {"g_lr": 0.7}, "hinge": {}},
        )
        return made

    return records


# Agreement of protocols.


Other = Callable[[StudyRecords], StudyRecords]


def defined(**facts: Any) -> Other:
    return lambda study: replace(study, definition=study.definition.model_copy(update=facts))


def other_extractor(study: StudyRecords) -> StudyRecords:
    params = {"evaluate.extractor_sha256": "xyz"}
    return replace(study, runs=tuple(replace(run, params=params) for run in study.runs))


DIFFERENCES: dict[str, tuple[dict[str, Any] | Other, list[str]]] = {
    "dataset": ({"dataset": "mnist"}, ["digits", "mnist"]),
    "dataset digest": (defined(dataset_digest="d2"), ["d1", "d2"]),
    "image_size": ({"fixed": {"image_size": 16}}, ["None", "16"]),
    "metric": (defined(metric="test/fid_inception_400"), [METRIC, "test/fid_inception_400"]),
    "feature extractor": (other_extractor, ["abc123", "xyz"]),
    "KID subsets": ({"evaluate": {"kid_subsets": 7}}, ["20", "7"]),
    "evaluations per run": ({"evaluate": {"times": 9}}, ["8", "9"]),
    "budget": ({"budget": {"g_steps": 640}}, ["640 real images", "640 gen"]),
}


@pytest.mark.parametrize("what", DIFFERENCES)
def test_studies_of_other_protocols_are_refused_with_the_difference(
    what: str, records: Any
) -> None:
    change, values = DIFFERENCES[what]
    other = change(records("two")) if callable(change) else records("two", **change)
    with pytest.raises(HarnessError) as refusal:
        check_same_protocol([records(), records("equal"), other])
    message = str(refusal.value)
    assert message.startswith(f"{what} differs: ")
    for word in (*values, "'one'", "'two'"):
        assert word in message
    assert "\n" not in message


def test_studies_of_one_protocol_are_accepted(records: Any) -> None:
    check_same_protocol([records()])
    check_same_protocol(
        [records(), records("two", compare={"d_steps": [1, 2]}, confirm={"seeds": 9})]
    )


# Several studies as one.


def test_budgets_of_presets_are_compared_by_what_they_are(records: Any, add_preset: Any) -> None:
    add_preset("long", budget={"images": 640})
    add_preset("short", budget={"images": 320})
    own = {"budget": {"preset": 1}}
    long, short = records("a", preset="long", **own), records("b", preset="short", **own)
    check_same_protocol([records(), long])
    with pytest.raises(
        HarnessError, match="budget differs: 640 real images in study 'a', 320 real"
    ):
        check_same_protocol([long, short])
    check_same_protocol([long, records("b", preset="short", **own, descriptive=True)])


def test_one_study_stays_as_it_is(records: Any) -> None:
    alone = records()
    assert merge([alone]) is alone


def test_arms_of_several_studies_have_names_of_their_own(records: Any) -> None:
    merged = merge([records("one"), records("two")])
    names = ["one: minimax", "one: hinge", "two: minimax", "two: hinge"]
    assert merged.name == "one+two"
    assert merged.study.question == "What of one?"
    assert [state.arm.name for state in merged.states] == names
    assert list(merged.importances) == names
    assert merged.importances["two: minimax"] == {"g_lr": 0.7}
    assert [run.arm for run in merged.runs] == [name for name in names for _ in range(2)]
    assert [run.study for run in merged.runs] == ["one"] * 4 + ["two"] * 4


def test_all_arms_are_compared_with_the_first_studys_baseline(records: Any) -> None:
    first, second = records("one", baseline={"loss": "hinge"}), records("two", shift=50.0)
    baseline = joint_name(first, first.study.baseline_arm)
    assert baseline == "one: hinge"
    analysis = analyse(merge([first, second]), baseline=baseline)
    compared = {contrast.test.arm: contrast.test for contrast in analysis.contrasts}
    assert set(compared) == {"one: minimax", "two: minimax", "two: hinge"}
    assert {test.baseline for test in compared.values()} == {"one: hinge"}
    assert compared["two: hinge"].difference == pytest.approx(50)
    assert compared["one: minimax"].difference == pytest.approx(-1)
    assert analysis.arm("two: hinge").costs == [51.1, 51.2]
    assert (analysis.effects, analysis.interactions) == ((), ())


# As CSV.


def rows(runs: list[RunRecord]) -> list[dict[str, str]]:
    text = runs_csv(runs, {"a-confirm-1": {"val/fid": [(64, 0.1 + 0.2), (640, 1e-9)]}}, "val/fid")
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_keeps_every_digit_and_every_character(make_run: Any) -> None:
    nasty = 'a_b&c%|x, "quoted"\nsecond line \\ <b>'
    given = make_run(
        nasty,
        "confirm",
        3,
        0.1 + 0.2,
        reason="d_loss = nan,\nstep 7",
        params={"g_lr": "0.00012345678901234567", "activation": "leaky,relu"},
        metrics={METRIC: 0.1 + 0.2, "val/kid": -1e-17 / 3, "train/d_loss": 1e300},
        tags={"version.torch": "2.11.0+cpu", "mlflow.source.git.commit": "f" * 40, "host": "h"},
    )
    (row,) = rows([given])
    assert row["arm"] == nasty
    assert row["reason"] == given.reason
    assert {key: row[f"param.{key}"] for key in given.params} == given.params
    assert {key: float(row[f"metric.{key}"]) for key in given.metrics} == given.metrics
    assert (row["trial"], row["seed"], row["used"], row["phase"]) == ("3", "3", "True", "confirm")
    assert row["version.torch"] == "2.11.0+cpu"
    assert row["mlflow.source.git.commit"] == "f" * 40


def test_csv_has_a_line_for_every_run_and_a_column_for_every_key(make_run: Any) -> None:
    one = make_run("a", "confirm", 1, 1.0, params={"x": "1"}, metrics={"m": 1.0, "system/cpu": 9.0})
    two = make_run(
        "b", "confirm", 2, 2.0, params={"y": "2"}, metrics={}, outcome="diverged", used=False
    )
    first, second = rows([one, two])
    assert (first["param.x"], first["param.y"], first["metric.m"]) == ("1", "", "1.0")
    assert (second["param.x"], second["param.y"], second["metric.m"]) == ("", "2", "")
    assert (second["outcome"], second["used"]) == ("diverged", "False")
    assert not any("system/" in column for column in first)
    curve = [point.split(":") for point in first["curve.val/fid"].split()]
    assert [(int(step), float(value)) for step, value in curve] == [(64, 0.1 + 0.2), (640, 1e-9)]
    assert second["curve.val/fid"] == ""
    assert len(first) == len(set(first)) == len(second)

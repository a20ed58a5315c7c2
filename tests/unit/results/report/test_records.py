"""Studies beside each other, and runs as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.config import parse
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
from harness.study.study import StudyConfig
from harness.work.board import ArmState
from harness.work.queue import Cell, CellRecord

METRIC = "test/fid_digits_cnn_v1_400"


def run(arm: str, seed: int, score: float, **facts: Any) -> RunRecord:
    given: dict[str, Any] = {
        "run_id": f"{arm}/{seed}", "study": "one", "arm": arm, "phase": "confirm", "trial": seed,
        "seed": seed, "outcome": "finished", "reason": "", "used": True,
        "params": {"evaluate.extractor_sha256": "abc"}, "metrics": {METRIC: score}, "tags": {},
        "page": "", "started": 0,
    }  # fmt: skip
    return RunRecord(**given | facts)


def records(name: str = "one", shift: float = 0.0, **changes: Any) -> StudyRecords:
    """Return a study of two arms with two runs each."""
    raw = {
        "question": f"What of {name}?",
        "dataset": "digits",
        "compare": {"loss": ["minimax", "hinge"]},
        "budget": {"images": 640},
    }
    study = parse(StudyConfig, raw | changes, "study.toml")
    states, runs = [], []
    for place, arm in enumerate(study.arms()):
        own = [
            run(arm.name, i, shift + place + i / 10, study=name, run_id=f"{name}{place}{i}")
            for i in (1, 2)
        ]
        cells = tuple(
            CellRecord(
                cell=Cell(key=str(each.seed), point={}, seeds=[each.seed], trial=each.trial),
                state="complete", outcome="finished", scores=each.metrics,
                run_ids={each.seed: each.run_id},
            )
            for each in own
        )  # fmt: skip
        states.append(ArmState(arm=arm, search=(), best={}, search_done=True, confirm=cells))
        runs += own
    return StudyRecords(
        name=name, study=study, states=tuple(states), runs=tuple(runs), profile={},
        definition={
            "metric": METRIC, "objective": METRIC, "floor": 0.1, "dataset_digest": "d1",
        },
        importances={"minimax": {"g_lr": 0.7}, "hinge": {}},
        parts={"mine": study},
    )  # fmt: skip


# Agreement of protocols.


def defined(**facts: Any) -> Callable[[StudyRecords], StudyRecords]:
    return lambda study: replace(study, definition={**study.definition, **facts})


def other_extractor(study: StudyRecords) -> StudyRecords:
    params = {"evaluate.extractor_sha256": "xyz"}
    return replace(study, runs=tuple(replace(run, params=params) for run in study.runs))


DIFFERENCES: dict[str, tuple[Callable[[], StudyRecords], list[str]]] = {
    "dataset": (lambda: records("two", dataset="mnist"), ["digits", "mnist"]),
    "dataset digest": (lambda: defined(dataset_digest="d2")(records("two")), ["d1", "d2"]),
    "image_size": (lambda: records("two", fixed={"image_size": 16}), ["None", "16"]),
    "metric": (
        lambda: defined(metric="test/fid_inception_400")(records("two")),
        [METRIC, "test/fid_inception_400"],
    ),
    "feature extractor": (lambda: other_extractor(records("two")), ["abc", "xyz"]),
    "KID subsets": (lambda: records("two", evaluate={"kid_subsets": 7}), ["20", "7"]),
    "evaluations per run": (lambda: records("two", evaluate={"times": 9}), ["5", "9"]),
    "budget": (lambda: records("two", budget={"g_steps": 640}), ["640 real images", "640 gen"]),
}


@pytest.mark.parametrize("what", DIFFERENCES)
def test_studies_of_other_protocols_are_refused_with_the_difference(what: str) -> None:
    make, values = DIFFERENCES[what]
    with pytest.raises(HarnessError) as refusal:
        check_same_protocol([records(), records("equal"), make()])
    message = str(refusal.value)
    assert message.startswith(f"{what} differs: ")
    for word in (*values, "'one'", "'two'"):
        assert word in message
    assert "\n" not in message


def test_studies_of_one_protocol_are_accepted() -> None:
    check_same_protocol([records()])
    check_same_protocol(
        [records(), records("two", compare={"d_steps": [1, 2]}, confirm={"seeds": 9})]
    )


# Several studies as one.


def test_one_study_stays_as_it_is() -> None:
    alone = records()
    assert merge([alone]) is alone


def test_arms_of_several_studies_have_names_of_their_own() -> None:
    merged = merge([records("one"), records("two")])
    names = ["one: minimax", "one: hinge", "two: minimax", "two: hinge"]
    assert merged.name == "one+two"
    assert merged.study.question == "What of one?"
    assert [state.arm.name for state in merged.states] == names
    assert list(merged.importances) == names
    assert merged.importances["two: minimax"] == {"g_lr": 0.7}
    assert [run.arm for run in merged.runs] == [name for name in names for _ in range(2)]
    assert [run.study for run in merged.runs] == ["one"] * 4 + ["two"] * 4


def test_all_arms_are_compared_with_the_first_studys_baseline() -> None:
    first, second = records("one", baseline={"loss": "hinge"}), records("two", shift=50.0)
    baseline = joint_name(first, first.study.baseline_arm)
    assert baseline == "one: hinge"
    analysis = analyse(merge([first, second]), baseline=baseline)
    compared = {contrast.test.arm: contrast.test for contrast in analysis.contrasts}
    assert set(compared) == {"one: minimax", "two: minimax", "two: hinge"}
    assert {test.baseline for test in compared.values()} == {"one: hinge"}
    assert compared["two: hinge"].difference == pytest.approx(50)
    assert compared["one: minimax"].difference == pytest.approx(-1)
    assert analysis.arm("two: hinge").ranks == [51.1, 51.2]
    assert (analysis.effects, analysis.interactions) == ((), ())


# As CSV.


def rows(runs: list[RunRecord]) -> list[dict[str, str]]:
    text = runs_csv(runs, {"a/1": {"val/fid": [(64, 0.1 + 0.2), (640, 1e-9)]}}, "val/fid")
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_keeps_every_digit_and_every_character() -> None:
    nasty = 'a_b&c%|x, "quoted"\nsecond line \\ <b>'
    given = run(
        nasty,
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


def test_csv_has_a_line_for_every_run_and_a_column_for_every_key() -> None:
    one = run("a", 1, 1.0, params={"x": "1"}, metrics={"m": 1.0, "system/cpu": 9.0})
    two = run("b", 2, 2.0, params={"y": "2"}, metrics={}, outcome="diverged", used=False)
    first, second = rows([one, two])
    assert (first["param.x"], first["param.y"], first["metric.m"]) == ("1", "", "1.0")
    assert (second["param.x"], second["param.y"], second["metric.m"]) == ("", "2", "")
    assert (second["outcome"], second["used"]) == ("diverged", "False")
    assert not any("system/" in column for column in first)
    curve = [point.split(":") for point in first["curve.val/fid"].split()]
    assert [(int(step), float(value)) for step, value in curve] == [(64, 0.1 + 0.2), (640, 1e-9)]
    assert second["curve.val/fid"] == ""
    assert len(first) == len(set(first)) == len(second)

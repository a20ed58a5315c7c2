"""The check of the example report finds every wrong number, word, sign and name put into it."""

from __future__ import annotations

import csv
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import harness

ROOT = Path(harness.__file__).parent.parent
SCRIPTS = ROOT / "scripts"
REPORT, README = "report", "readme"

# Where, what it says, what it is made to say.
MUTANTS = [
    # Verdicts and names.
    (REPORT, "dc beats mlp: test", "mlp beats dc: test"),
    (REPORT, "dc beats mlp: test", "dc loses to mlp: test"),
    (REPORT, "dc beats mlp: test", "dc against mlp is not resolved with 5 and 5 runs: test"),
    (REPORT, "P(dc < mlp)", "P(mlp < dc)"),
    (REPORT, "| dc against mlp |", "| mlp against dc |"),
    (REPORT, "baseline mlp", "baseline dc"),
    (REPORT, "lower is better", "higher is better"),
    (README, "on MNIST? Yes:", "on MNIST? No:"),
    (README, "> dc beats mlp", "> dc loses to mlp"),
    (README, "The mlp arm was still", "The dc arm was still"),
    (README, "and a dc run takes", "and a mlp run takes"),
    (README, "| dc | 5/5 |", "| mlp | 5/5 |"),
    # Numbers in sentences.
    (REPORT, "2.55 ± 0.20 against 5.45 ± 0.26", "5.45 ± 0.26 against 2.55 ± 0.20"),
    (REPORT, "exact Mann-Whitney p = 0.0079", "exact Mann-Whitney p = 0.0790"),
    (REPORT, "a search of 8 trials", "a search of 5 trials"),
    (REPORT, "every arm 8 trials", "every arm 5 trials"),
    (REPORT, "5 fresh training seeds", "8 fresh training seeds"),
    (REPORT, "batch_size = 128", "batch_size = 64"),
    (REPORT, "log-uniform in [5e-05, 0.002]; d_lr", "log-uniform in [5e-05, 0.02]; d_lr"),
    (REPORT, "10,000 validation and", "50,000 validation and"),
    (REPORT, "Evaluation: 5 times", "Evaluation: 8 times"),
    (README, "tuned in 8 trials, then confirmed on 5", "tuned in 5 trials, then confirmed on 8"),
    (README, "(600,000)", "(300,000)"),
    (README, "of 10,000 samples", "of 50,000 samples"),
    (README, "takes 5.5 times", "takes 3.3 times"),
    # Signs and intervals.
    (REPORT, "difference −2.86 [−3.19, −2.53]", "difference +2.86 [−3.19, −2.53]"),
    (REPORT, "| −2.86 [−3.19, −2.53] |", "| −2.86 [+3.19, −2.53] |"),
    (REPORT, "= 1.00 [0.64, 1.00]", "= 1.00 [0.00, 1.00]"),
    (REPORT, "| 1.00 [0.64, 1.00] |", "| 1.00 |"),
    (REPORT, "2.57 [2.34, 2.74]", "2.57 [2.34, 2.47]"),
    (REPORT, "0/5 [0, 43]", "0/5 [0, 50]"),
    (REPORT, "95 % percentile", "90 % percentile"),
    (README, "5.47 [5.17, 5.71]", "5.47 [5.17, 5.17]"),
    # Floors.
    (REPORT, "Real images score 0.0749", "Real images score 0.0"),
    (REPORT, "Real training images score 0.0749", "Real training images score 0.749"),
    (README, "real images score 0.0749", "real images score 0.0"),
    # Pictures and captions.
    (REPORT, "mlp: 5.08 to 5.73", "mlp: 5.73 to 5.08"),
    (REPORT, "dc: 2.23 to 2.80 over 5 runs", "dc: 2.23 to 2.80 over 8 runs"),
    (REPORT, "mlp: 71.5 to 5.29; dc: 5.97 to 2.49", "mlp: 5.97 to 2.49; dc: 71.5 to 5.29"),
    (REPORT, "3.14 after 8", "3.14 after 5"),
    (REPORT, "mlp, seed 4; dc, seed 3", "mlp, seed 3; dc, seed 4"),
    (REPORT, "Differences to mlp: dc −2.86", "Differences to mlp: dc −2.68"),
    (REPORT, "d_lr = 0.000145, 11.1; dc", "d_lr = 0.00145, 11.1; dc"),
    (REPORT, "Dashed: what real images", "Dashed: what generated images"),
    (REPORT, "(solid) and generated (dotted)", "(dotted) and generated (solid)"),
    (REPORT, "(figures/tuned.png)", "(figures/parallel.png)"),
    (REPORT, "withheld: mlp has 8", "withheld: mlp has 18"),
    (README, "best, median and worst run", "best, median and best run"),
    # Threats.
    (REPORT, "mlp was still improving, by 24 %", "mlp was still improving, by 8 %"),
    (REPORT, "mlp was still improving, by", "mlp had stopped improving, by"),
    (REPORT, "dc was still improving cannot be told", "dc was still improving can be told"),
    (REPORT, "in 3 of 5 runs (one", "in 5 of 5 runs (one"),
    (REPORT, "sign test p = 0.0312", "sign test p = 0.0625"),
    (REPORT, "g_lr = 0.00118 is the largest", "g_lr = 0.00118 is the smallest"),
    (REPORT, "dc takes 5.5 times the seconds", "mlp takes 5.5 times the seconds"),
    (REPORT, "the trainable parameters of dc", "the seconds of dc"),
    (REPORT, "each of 1 training seed", "each of 5 training seeds"),
    (REPORT, "at 50 % of the full", "at 100 % of the full"),
    (REPORT, "- Unequal compute: mlp", "- Equal compute: mlp"),
    # Units, keys, names of runs.
    (REPORT, "600,000 real images each", "600,000 steps each"),
    (REPORT, "search s |", "search h |"),
    (REPORT, "`test/fid_mnist_cnn_v1_10k`", "`val/fid_mnist_cnn_v1_10k`"),
    (REPORT, "| arm | diverged |", "| arm | diverges |"),
    (REPORT, "`153dced4`", "`d0e370d1`"),
    (REPORT, "harness reproduce 153d", "harness reproduce 253d"),
    (REPORT, "commit 7803be14", "commit 7803be15"),
    (REPORT, "torch 2.15.0", "torch 2.16.0"),
    # Rows of tables.
    (REPORT, "| 5.31 ± 0.24 |", "| 5.31 ± 0.42 |"),
    (REPORT, "| 0.00118 |", "| 0.00108 |"),
    (REPORT, "| 1186 |", "| 1168 |"),
    (REPORT, "| mlp confirm 0 | 1 |", "| mlp confirm 0 | 2 |"),
    (REPORT, "dc search 5 | 1000005", "dc search 6 | 1000005"),
    (README, "| 2.55 ± 0.20 |", "| 2.56 ± 0.20 |"),
    # Sentences more and fewer.
    (REPORT, "## Training\n", "## Training\n\nThe dc arm is better in every way.\n"),
    (REPORT, "*Every run that the tables rest on", "*Most runs that the tables rest on"),
    (README, "\n\nThese are", "\n\nNo run failed. These are"),
    (README, " [The whole report]", " Nothing else is wrong. [The whole report]"),
    (README, "All of it came", "Some of it came"),
]  # fmt: skip
# Of the method and the data, not of the runs: levels, coverage, latents, rounding, a date.
FIXED = {"0", "1", "5", "16", "64", "80", "90", "95", "0.05", "8", "2", "2026", "11", "21"}


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """Return `scripts/check_example.py`."""
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module("check_example")
    sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def texts(script: Any) -> dict[str, str]:
    """Return the report and the README's example."""
    readme = script.example_of((ROOT / "README.md").read_text())
    return {REPORT: (ROOT / "docs/example-report/report.md").read_text(), README: readme}


@pytest.fixture(scope="module")
def wanted(script: Any) -> dict[str, str]:
    """Return what the two should say."""
    facts = script.read_facts(ROOT)
    return {name: script.expected(name, facts) for name in (REPORT, README)}


def test_the_example_is_right(script: Any, texts: Any, wanted: Any) -> None:
    for name, text in texts.items():
        assert script.differences(text, wanted[name]) == []
    command = [sys.executable, str(SCRIPTS / "check_example.py")]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize(("name", "before", "after"), MUTANTS)
def test_a_mutant_is_found(
    name: str, before: str, after: str, script: Any, texts: Any, wanted: Any
) -> None:
    assert before in texts[name]
    problems = script.differences(texts[name].replace(before, after, 1), wanted[name])
    assert problems
    assert all(problem.startswith("says: ") for problem in problems)


def test_a_line_may_break_elsewhere(script: Any, texts: Any, wanted: Any) -> None:
    text = texts[README].replace("learning rates were\ntuned in", "learning rates\nwere tuned in")
    assert text != texts[README]
    assert script.differences(text, wanted[README]) == []


def mutant_of_runs(folder: Path, column: str, value: str) -> Path:
    """Return a checkout whose last confirm run has another value."""
    (folder / "docs/example-report").mkdir(parents=True)
    (folder / "studies").symlink_to(ROOT / "studies")
    with (ROOT / "docs/example-report/runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[-1][column] = value
    with (folder / "docs/example-report/runs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("seed", "9"),
        ("run_id", "c57595c6571743669480b273216dfea1"),
        ("param.g_lr", "0.0011"),
        ("metric.progress/train_seconds", "1600"),
        ("metric.test/fid_mnist_cnn_v1_10k", "2.33"),
        ("metric.val/fid_mnist_cnn_v1_10k", "2.33"),
    ],
)
def test_other_runs_ask_for_another_report(
    column: str, value: str, script: Any, texts: Any, tmp_path: Path
) -> None:
    facts = script.read_facts(mutant_of_runs(tmp_path, column, value))
    assert script.differences(texts[REPORT], script.expected(REPORT, facts))


@pytest.mark.parametrize(("column", "value"), [("used", "False"), ("outcome", "diverged")])
def test_runs_that_do_not_count_are_missed(
    column: str, value: str, script: Any, tmp_path: Path
) -> None:
    facts = script.read_facts(mutant_of_runs(tmp_path, column, value))
    with pytest.raises(SystemExit, match="five confirm runs"):
        script.expected(REPORT, facts)


def test_templates_hold_no_numbers_of_runs() -> None:
    for name in (REPORT, README):
        text = (SCRIPTS / "example" / f"{name}.txt").read_text()
        text = re.sub(r"\$\{\w+\}|SHA-256|\w*[A-Za-z_]\w*", " ", text)
        assert set(re.findall(r"\d+(?:[.,]\d+)*", text)) <= FIXED

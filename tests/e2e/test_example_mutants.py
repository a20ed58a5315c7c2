"""The check of the example report finds every wrong number, word, sign and name put into it."""

from __future__ import annotations

import csv
import functools
import importlib
import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import harness

ROOT = Path(harness.__file__).parent.parent
SCRIPTS = ROOT / "scripts"
EXAMPLE = Path("docs") / "example-report"
REPORT, README = "report", "readme"

# Where, what it says, what it is made to say.
MUTANTS = [
    (REPORT, "P(dc < mlp)", "P(mlp < dc)"),
    (REPORT, "baseline mlp", "baseline dc"),
    (REPORT, "95 % percentile", "90 % percentile"),
    (REPORT, "Dashed: what real images", "Dashed: what generated images"),
    (REPORT, "images solid, generated images dotted", "images dotted, generated images solid"),
    (REPORT, "(figures/tuned.png)", "(figures/parallel.png)"),
    (REPORT, "`test/fid", "`val/fid"),
    (REPORT, "of 1 training seed", "of 5 training seeds"),
    (REPORT, "real images each, no pruning", "steps each, no pruning"),
    (REPORT, "| search s |", "| search h |"),
    (REPORT, "extended 0 times", "extended 1 times"),
    (REPORT, "- Unequal compute: mlp", "- Equal compute: mlp"),
    (REPORT, "*Every run that the tables rest on", "*Most runs that the tables rest on"),
    (REPORT, "## Training\n", "## Training\n\nThe dc arm is better in every way.\n"),
    (README, "best, median and worst run", "best, median and best run"),
    (README, "\n\nThese are", "\n\nNo run failed. These are"),
    (README, " [The whole report]", " Nothing else is wrong. [The whole report]"),
    (README, "it came from two commands", "it came from one command"),
    # What these runs say.
    (REPORT, "dc loses to mlp: test", "dc beats mlp: test"),
    (REPORT, "dc loses to mlp: test", "dc against mlp is not resolved with 5 and 5 runs: test"),
    (REPORT, "7.47 ± 0.38 against 6.50 ± 0.13", "6.50 ± 0.13 against 7.47 ± 0.38"),
    (REPORT, "difference +0.983 [+0.418, +1.421]", "difference −0.983 [−1.421, −0.418]"),
    (REPORT, "Nor do other axes object", "Other axes object"),
    (REPORT, "dc wins 25 of 25 pairs", "mlp wins 25 of 25 pairs"),
    (REPORT, "mlp was still improving, by", "mlp had stopped improving, by"),
    (REPORT, "0.00105 is the largest of 8", "0.00105 is the smallest of 8"),
    (REPORT, "figures speak for dc", "figures speak for mlp"),
    (REPORT, "10.2 after 8", "10.2 after 5"),
    (README, "on MNIST? No:", "on MNIST? Yes:"),
    (README, "Both arms were still", "The dc arm was still"),
]
# Words that state something, and what they may be mistaken for.
OPPOSITES = [
    ("beats", "loses to"), ("better", "worse"), ("lower", "higher"), ("largest", "smallest"),
    ("holds", "turns"), ("finished", "diverged"), ("confirm", "search"), ("mlp", "dc"),
    ("validation", "test"), ("mean", "median"), ("first", "last"), ("generator", "discriminator"),
    ("+", "−"), (" against ", " and "), ("two-sided", "one-sided"), ("unadjusted", "adjusted"),
]  # fmt: skip
# Of the method and the data, not of the runs: levels, latents, papers' years and the like.
FIXED = {
    *("0", "1", "5", "8", "16", "64", "60", "80", "95", "0.05", "0.1", "0.5", "0.9", "1.25"),
    *("2018", "2019", "2020", "2024"),
}
Mutate = Callable[[str], Iterator[str]]


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
    return {REPORT: (ROOT / EXAMPLE / "report.md").read_text(), README: readme}


@pytest.fixture(scope="module")
def facts(script: Any) -> Any:
    """Return what the example's runs say."""
    return script.read_facts(ROOT)


@pytest.fixture(scope="module")
def problems(script: Any, facts: Any) -> Callable[[str, str], list[str]]:
    """Return what lists the problems of one of the two texts."""
    found = script.slots(facts)

    def listed(name: str, text: str) -> list[str]:
        shown = script.only_shown(text, facts) if name == REPORT else {}
        listed: list[str] = script.differences(text, script.expected(name, found | shown))
        return listed

    return listed


def test_the_example_is_right(problems: Any, texts: Any) -> None:
    for name, text in texts.items():
        assert problems(name, text) == []
    command = [sys.executable, str(SCRIPTS / "check_example.py")]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.mark.usefixtures("script")
def test_of_an_even_number_of_runs_the_worse_middle_score_is_the_target() -> None:
    """Half of the arm must have reached it, as the report has it: 4, not the mean of 3 and 4."""
    curves = {"a": [[9.0, 4.0], [9.0, 2.0], [9.0, 3.0], [9.0, 8.0]], "b": [[9.0, 1.0]] * 4}
    facts = SimpleNamespace(
        pair=("a", "b"),
        curves=lambda arm: (np.array([64.0, 128.0]), np.array(curves[arm])),
        spending=lambda arm, resource: np.array([64.0, 128.0]),
        scores=lambda arm: np.array(curves[arm])[:, -1],
        values=lambda arm, metric: np.array([1.0, 2.0, 3.0, 4.0]),
    )
    view = importlib.import_module("example.views")._to_a_score(facts, "images")
    assert view.at == "FID 4.00"
    assert np.isfinite(view.costs[0]).tolist() == [True, True, True, False]


@pytest.mark.parametrize(("name", "before", "after"), MUTANTS)
def test_a_mutant_is_found(name: str, before: str, after: str, problems: Any, texts: Any) -> None:
    assert before in texts[name]
    found = problems(name, texts[name].replace(before, after, 1))
    assert found
    assert all(problem.startswith("says: ") for problem in found)


def other_digits(text: str) -> Iterator[str]:
    """Yield a text with another last digit of one of its numbers."""
    for number in re.finditer(r"(?<![\w.])\d+(?:[.,]\d+)*(?!\w)", text):
        digit = str((int(text[number.end() - 1]) + 1) % 10)
        yield text[: number.end() - 1] + digit + text[number.end() :]


def other_words(text: str) -> Iterator[str]:
    """Yield a text with one word put for its opposite."""
    for pair in OPPOSITES:
        for word, other in (pair, pair[::-1]):
            for found in re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", text):
                yield text[: found.start()] + other + text[found.end() :]


def swapped_ends(text: str) -> Iterator[str]:
    """Yield a text with one interval's ends swapped."""
    for found in re.finditer(r"\[([^\], ]+), ([^\], ]+)\]", text):
        if found[1] != found[2]:
            yield f"{text[: found.start()]}[{found[2]}, {found[1]}]{text[found.end() :]}"


def without_a_line(text: str) -> Iterator[str]:
    """Yield a text without one of its lines."""
    lines = text.split("\n")
    for place, line in enumerate(lines):
        if line.strip():
            yield "\n".join([*lines[:place], *lines[place + 1 :]])


def with_a_line_twice(text: str) -> Iterator[str]:
    """Yield a text that says one of its lines twice."""
    lines = text.split("\n")
    for place, line in enumerate(lines):
        if line.strip():
            yield "\n".join([*lines[: place + 1], *lines[place:]])


def without_a_sentence(text: str) -> Iterator[str]:
    """Yield a text without one sentence that stands within a paragraph."""
    for found in re.finditer(r"(?<=[.:;]) [^\n|]+?[.:;](?= )", text):
        yield text[: found.start()] + text[found.end() :]


def swapped_rows(text: str) -> Iterator[str]:
    """Yield a text with two neighbouring rows or lines swapped."""
    lines = text.split("\n")
    for place, (one, other) in enumerate(itertools.pairwise(lines)):
        if one.startswith("|") and other.startswith("|"):
            yield "\n".join([*lines[:place], other, one, *lines[place + 2 :]])


def swapped_cells(text: str) -> Iterator[str]:
    """Yield a text with two neighbouring, unequal cells of one row swapped."""
    for found in re.finditer(r"(?<=\| )([^|\n]+) \| ([^|\n]+)(?= \|)", text):
        if found[1] != found[2]:
            yield f"{text[: found.start()]}{found[2]} | {found[1]}{text[found.end() :]}"


@pytest.mark.parametrize("name", [REPORT, README])
@pytest.mark.parametrize(
    "mutate",
    [
        other_digits, other_words, swapped_ends, without_a_line, with_a_line_twice,
        without_a_sentence, swapped_rows, swapped_cells,
    ],
)  # fmt: skip
def test_every_mutant_of_a_kind_is_found(
    name: str, mutate: Mutate, problems: Any, texts: Any, facts: Any
) -> None:
    text = texts[name]
    hidden = hidden_places(text, facts) if name == REPORT else set()
    changed = {each: first_change(text, each) for each in mutate(text)}
    mutants = [each for each, place in changed.items() if place not in hidden]
    assert mutants
    missed = [each for each in mutants if not problems(name, each)]
    shown = [
        f"{text[max(0, at - 40) : at]}→{each[at:][:40]}" for each in missed if (at := changed[each])
    ]
    assert shown == []


def first_change(text: str, mutant: str) -> int:
    """Return the place at which a mutant first differs."""
    pairs = enumerate(zip(text, mutant, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(text), len(mutant)))


def hidden_places(text: str, facts: Any) -> set[int]:
    """Return the places of a report of which the form alone is checked."""
    found = importlib.import_module("example.plan").places(text, facts).values()
    return {place for each in found for place in range(*each.span(1))}


def test_what_no_run_tells_has_its_form(problems: Any, script: Any, texts: Any, facts: Any) -> None:
    for name, shown in script.only_shown(texts[REPORT], facts).items():
        if not shown and name == "plan":  # early ledgers have no hash of the plan
            continue
        assert shown not in ("", "?"), name
        assert problems(REPORT, texts[REPORT].replace(shown, shown[1:])), name


def test_a_line_may_break_elsewhere(problems: Any, texts: Any) -> None:
    text = texts[README].replace("learning rates were", "learning rates\nwere")
    assert text != texts[README]
    assert problems(README, text) == []


def with_other_runs(script: Any, folder: Path, column: str, value: str, num_runs: int = 1) -> Any:
    """Return what the runs say when the last confirm runs have another value."""
    (folder / EXAMPLE).mkdir(parents=True)
    (folder / "studies").symlink_to(ROOT / "studies")
    with (ROOT / EXAMPLE / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows[-num_runs:]:
        row[column] = value
    with (folder / EXAMPLE / "runs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return script.read_facts(folder)


@functools.cache
def columns_that_count() -> dict[str, str]:
    """Return a column of everything that a confirm run is described by -> another value."""
    with (ROOT / EXAMPLE / "runs.csv").open(newline="") as file:
        row = list(csv.DictReader(file))[-1]
    scores = [key for key in row if re.match(r"metric\.test/(?!.*_floor)", key) and row[key]]
    spent = ["metric.progress/train_seconds", "metric.progress/flops", "metric.progress/load"]
    curves = [key for key in row if key.startswith("curve.")]
    return {
        "seed": "9",
        "run_id": row["run_id"][::-1],
        "param.g_lr": "0.0011",
        **{key: str(2 * float(row[key]) + 1) for key in (*scores, *spent)},
        **{key: re.sub(r":\S+", ":7.0", row[key]) for key in curves},
        "version.torch": "1.0",
        "mlflow.source.git.commit": "f" * 40,
    }


@pytest.mark.parametrize("column", columns_that_count())
def test_other_runs_ask_for_another_report(
    column: str, script: Any, texts: Any, tmp_path: Path
) -> None:
    num_runs = 5 if column.startswith("curve.progress/") else 1  # medians do not see one of five
    value = columns_that_count()[column]
    facts = with_other_runs(script, tmp_path, column, value, num_runs)
    found = script.slots(facts) | script.only_shown(texts[REPORT], facts)
    assert script.differences(texts[REPORT], script.expected(REPORT, found))


@pytest.mark.parametrize(("column", "value"), [("used", "False"), ("outcome", "diverged")])
def test_runs_that_do_not_count_are_missed(
    column: str, value: str, script: Any, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match="five confirm runs"):
        with_other_runs(script, tmp_path, column, value)


def test_templates_hold_no_numbers_of_runs() -> None:
    for name in (REPORT, README):
        text = (SCRIPTS / "example" / f"{name}.txt").read_text()
        text = re.sub(r"\$\{\w+\}|SHA-256|\w*[A-Za-z_]\w*", " ", text)
        assert set(re.findall(r"\d+(?:[.,]\d+)*", text)) <= FIXED


def test_the_templates_use_every_slot(script: Any, texts: Any, facts: Any) -> None:
    templates = [(SCRIPTS / "example" / f"{name}.txt").read_text() for name in (REPORT, README)]
    used = set(re.findall(r"\$\{(\w+)\}", "".join(templates)))
    assert used == set(script.slots(facts) | script.only_shown(texts[REPORT], facts))

"""The tables of the example, each checked row by row."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator

import numpy as np
from scipy.stats import binomtest, trim_mean

from example.checker import NUMBER, Checker
from example.facts import Facts, compare, cost, holm, shifts

COMPARISONS = ("arms A against B", "P(A < B)")


def tables(text: str) -> Iterator[tuple[tuple[str, ...], list[list[str]]]]:
    """Yield (columns, rows) of every Markdown table."""
    for block in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE):
        lines = [
            [cell.strip() for cell in line.strip("|").split(" | ")]
            for line in (line.strip() for line in block.strip().splitlines())
        ]
        yield tuple(lines[0]), lines[2:]


def check_tables(text: str, facts: Facts, check: Checker) -> None:
    """Check every table by its columns; an unknown table is a problem."""
    for columns, rows in tables(text):
        if columns[:2] == COMPARISONS:
            check_comparisons(rows, facts, check)
        elif columns[:2] in ROW_CHECKS:
            for row in rows:
                ROW_CHECKS[columns[:2]](row, facts, check)
        else:
            check.problems.append(f"a table that nobody checks: {columns}")


def check_arm(row: list[str], facts: Facts, check: Checker) -> None:
    """Check a row of the results."""
    arm, counts, mean, median, iqm, best = row
    scores = facts.scores(arm)
    finite = scores[np.isfinite(scores)]
    check.cell(f"{arm} n_ok/n", counts, len(finite), len(scores))
    check.cell(f"{arm} mean ± sd", mean, finite.mean(), finite.std(ddof=1))
    check.cell(f"{arm} median", median, float(np.median(scores)))
    check.cell(f"{arm} best", best, finite.min())
    middle = float(trim_mean(scores, 0.25))
    if len(scores) < 5:
        check.cell(f"{arm} IQM", iqm, middle)
        return
    resamples = np.array(list(itertools.product(scores, repeat=len(scores))))  # few enough of five
    means = np.sort(trim_mean(resamples, 0.25, axis=1))
    cut = math.floor(0.025 * len(means))
    check.cell(f"{arm} IQM", iqm, middle, means[cut], means[-1 - cut])


def check_comparisons(rows: list[list[str]], facts: Facts, check: Checker) -> None:
    """Check comparisons with the baseline."""
    found = [compare(facts, *row[0].split(" against ")) for row in rows]
    adjusted = holm([each["p"] for each in found])
    for row, each, p_holm in zip(rows, found, adjusted, strict=True):
        name, wins, p, printed_holm, least, difference, g = row
        many = NUMBER.findall(wins)
        expected = [each["wins"], each["low"], each["high"]][: len(many)]
        check.cell(f"{name} P(A < B)", wins, *expected)
        check.cell(f"{name} p", p, each["p"])
        check.cell(f"{name} p (Holm)", printed_holm, p_holm)
        check.cell(f"{name} least p", least, each["least"])
        check.cell(f"{name} g", g, each["g"])
        smaller = sum(other["p"] < each["p"] for other in found)
        level = 0.05 / (len(found) - min(smaller, sum(p <= 0.05 for p in adjusted)))
        a, b = (facts.scores(arm) for arm in name.split(" against "))
        ends = shifts(a, b, level) if len(NUMBER.findall(difference)) > 1 else ()
        check.cell(f"{name} difference", difference, each["difference"], *ends)


def check_failures(row: list[str], facts: Facts, check: Checker) -> None:
    """Check counts and Wilson's intervals."""
    arm, *cells = row
    runs = facts.runs(arm)
    for outcome, cell in zip(("diverged", "collapsed", "failed"), cells, strict=False):
        count = sum(row["outcome"] == outcome for row in runs)
        interval = binomtest(count, len(runs)).proportion_ci(method="wilson")
        ends = (100 * interval.low, 100 * interval.high)
        check.cell(f"{arm} {outcome}", cell, count, len(runs), *ends)
    search = facts.runs(arm, "search")
    kinds = [
        sum(row["outcome"] == kind for row in search)
        for kind in ("diverged", "collapsed", "failed", "pruned")
    ]
    lost = [kind for kind in kinds if kind] or [0]
    check.cell(f"{arm} lost in the search", cells[3], *lost, len(search))


def check_cost(row: list[str], facts: Facts, check: Checker) -> None:
    """Check parameters, seconds and the search's size."""
    arm, *cells = row
    for cell, value in zip(cells, cost(arm, facts), strict=True):
        check.cell(f"{arm} cost", cell, value)


def check_setting(row: list[str], facts: Facts, check: Checker) -> None:
    """Check a tuned parameter against the study file and the runs."""
    arm, key, searched, first, confirmed = row
    space = facts.study["space"][key]  # type: ignore[index]
    check.cell(f"range of {key}", searched, space["low"], space["high"])
    trial = float(facts.runs(arm, "search")[0][f"param.{key}"])
    check.cell(f"{arm} trial 0 {key}", first, trial)
    chosen = float(facts.runs(arm)[0][f"param.{key}"])
    check.cell(f"{arm} confirmed {key}", confirmed, chosen)


def check_metrics(row: list[str], facts: Facts, check: Checker) -> None:
    """Check means and standard deviations of the other metrics."""
    arm, *cells = row
    kid = facts.test.replace("fid_", "kid_")
    spread = facts.test.replace("fid_", "feature_spread_")
    for column, cell in zip((facts.validation, kid, spread), cells, strict=True):
        values = facts.values(arm, column)
        check.cell(f"{arm} {column}", cell, values.mean(), values.std(ddof=1))


def check_run(row: list[str], facts: Facts, check: Checker) -> None:
    """Check a run against its line in runs.csv."""
    name, seed, settings, outcome, validation, test, run_id = row
    found = [run for run in facts.rows if run["run_id"] == run_id]
    if len(found) != 1 or found[0]["outcome"] != outcome or found[0]["arm"] not in name:
        check.problems.append(f"run {run_id}: not in runs.csv as printed")
        return
    check.cell(f"{name} seed", seed, float(found[0]["seed"]))
    for part in settings.split(", "):
        key, _, value = part.partition(" = ")
        check.cell(f"{name} {key}", value, float(found[0][f"param.{key}"]))
    for column, cell in ((facts.validation, validation), (facts.test, test)):
        check.cell(f"{name} {column}", cell, *([float(found[0][column])] if cell != "–" else []))


ROW_CHECKS: dict[tuple[str, ...], Callable[[list[str], Facts, Checker], None]] = {
    ("arm", "n_ok/n"): check_arm,
    ("arm", "diverged"): check_failures,
    ("arm", "parameters G"): check_cost,
    ("arm", "parameter"): check_setting,
    ("arm", "validation FID"): check_metrics,
    ("run", "seed"): check_run,
}

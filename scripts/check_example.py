"""Recompute the example report from its runs.csv with plain NumPy and SciPy, and compare.

`python scripts/check_example.py` checks every number in `docs/example-report/report.md` and between
the README's example marks; another checkout may be named. Nothing of the harness is imported: a
mistake in its statistics shows.
"""

from __future__ import annotations

import csv
import itertools
import math
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from example.checker import NUMBER, Checker, agrees
from example.facts import Facts, compare, cost, late_change, shifts
from example.tables import COMPARISONS, ROW_CHECKS, check_tables, tables

ROOT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent
# Of the method, not of the runs: levels, resamples, coverage, bits; MNIST's training part; grids.
METHOD = {0.05, 95, 90, 80, 10_000, 8, 5, 1, 0, 50_000, 64, 16}


def answer(facts: Facts) -> str:
    """Return the sentence that compares the two arms."""
    b = facts.study["baseline"]["architecture"]  # type: ignore[index]
    (a,) = [arm for arm in facts.arms if arm != b]
    found = compare(facts, a, b)
    verdict = f"{a} against {b} is not resolved with {len(facts.scores(a))} and "
    verdict += f"{len(facts.scores(b))} runs"
    if found["p"] < 0.05:
        verdict = f"{a} beats {b}" if found["wins"] > 0.5 else f"{a} loses to {b}"
    means = []
    for arm in (a, b):
        scores = facts.scores(arm)
        if not np.isfinite(scores).all():
            raise SystemExit("the check of the answer does not know runs without a score")
        sd = scores.std(ddof=1)
        places = max(0, 1 - math.floor(math.log10(sd)))
        means.append(f"{scores.mean():.{places}f} ± {sd:.{places}f}")
    ends = (found["difference"], *shifts(facts.scores(a), facts.scores(b), 0.05))
    difference, low, high = (f"{end:+.2f}".replace("-", "−") for end in ends)
    return (
        f"{verdict}: test FID {means[0]} against {means[1]}, median difference {difference} "
        f"[{low}, {high}]; "
        f"P({a} < {b}) = {found['wins']:.2f} [{found['low']:.2f}, {found['high']:.2f}], exact "
        f"Mann-Whitney p = {found['p']:.4f} (least attainable {found['least']:.4f})."
    )


def check_threats(text: str, facts: Facts, check: Checker) -> None:
    """Check the threats that state numbers of arms: by what each says of whom."""
    falling = dict(re.findall(r"validation FID of (\S+) was still falling, by (\d+) %", text))
    for arm in facts.arms:
        change = late_change(facts, arm)
        if (change < -5) != (arm in falling):
            check.problems.append(f"{arm}: FID changed by {change:.3g} % at the end")
        elif arm in falling:
            check.number(f"{arm} still falling", falling[arm], -change)
    costs = {arm: cost(arm, facts) for arm in facts.arms}
    pattern = r"(\S+) takes ([\d.]+) times the (seconds|trainable)[^;]* of (\S+);"
    for most, ratio, what, least in re.findall(pattern, text):
        one, other = (
            costs[arm][2] if what == "seconds" else sum(costs[arm][:2]) for arm in (most, least)
        )
        check.number(f"{what} of {most} over {least}", ratio, one / other)


def pool(facts: Facts) -> Iterator[float]:
    """Yield every number that the other sentences may state."""
    yield from METHOD
    yield from numbers_in(facts.study)
    budget = float(facts.study["budget"]["images"])  # type: ignore[index]
    share = float(facts.study["search"]["budget_share"])  # type: ignore[index]
    yield from (budget * share, 100 * share, facts.floor)
    for key, value in facts.rows[0].items():
        if key.startswith("param.evaluate.") or key in ("param.threads", "param.dataset"):
            yield from (float(token) for token in re.findall(r"\d+(?:\.\d+)?", value))
    yield 2 / math.comb(2 * len(facts.runs(facts.arms[0])), len(facts.runs(facts.arms[0])))
    for arm in facts.arms:
        searched = np.sort(facts.values(arm, facts.validation, "search"))
        yield from (len(facts.runs(arm)), len(searched), searched[1] - searched[0])
        yield facts.values(arm, facts.validation).std(ddof=1)
        yield -late_change(facts, arm)
        costs = [cost(each, facts) for each in facts.arms]
    for one, other in itertools.permutations(costs, 2):
        yield from (one[2] / other[2], sum(one[:2]) / sum(other[:2]))
    # Of the descriptions of pictures: ends of the dot plot and of the curves.
    for arm in facts.arms:
        yield from (facts.scores(arm).min(), facts.scores(arm).max())
        curves = [
            [float(p.partition(":")[2]) for p in row["curve." + facts.validation[7:]].split()]
            for row in facts.runs(arm)
        ]
        yield from np.median(curves, axis=0)
        yield float(facts.runs(arm, "search")[0][facts.validation])
        yield facts.values(arm, facts.validation, "search").min()


def numbers_in(tree: object) -> Iterator[float]:
    """Yield all numbers in nested tables."""
    if isinstance(tree, dict):
        for value in tree.values():
            yield from numbers_in(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from numbers_in(value)
    elif isinstance(tree, int | float):
        yield float(tree)


def check_prose(where: str, text: str, allowed: Iterable[float], check: Checker) -> None:
    """Note numbers outside tables and code that no fact explains."""
    allowed = [value for value in allowed if math.isfinite(value)]
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    text = re.sub(r"^\|.*$|^Study .*$|^Runs: .*$|`[^`]*`|\]\([^)]*\)|<[^>]*>", "", text, flags=re.M)
    text = re.sub(r"\d+\.\d+\.\d+", "", text)  # versions
    text = re.sub(r"\*\*Answer\.\*\*.*?(?=The answer holds)", "", text, flags=re.DOTALL)
    text = text.replace("SHA-256", "")
    # Words, names with digits, hashes; not 5e-05.
    text = re.sub(r"(?!\d+e-\d+\b)(?<![\w.])[\w/.]*[A-Za-z_][\w/.]*", " ", text)
    for token in NUMBER.findall(text):
        check.checked += 1
        if not any(agrees(token, value) for value in allowed):
            check.problems.append(f"{where}: nothing explains the number {token}")


def main() -> None:
    """Check the example and say what was found; exit status 1 if anything disagrees."""
    folder = ROOT / "docs" / "example-report"
    study = tomllib.loads((ROOT / "studies" / "mlp_vs_dc.toml").read_text())
    with (folder / "runs.csv").open(newline="") as file:
        facts = Facts(list(csv.DictReader(file)), study)
    readme = (ROOT / "README.md").read_text()
    example = "\n".join(
        re.findall(r"<!-- example -->(.*?)<!-- /example -->", readme, flags=re.DOTALL)
    )
    check = Checker()
    if not example:
        check.problems.append("README.md: no example between its marks")
    allowed = list(pool(facts))
    report = (folder / "report.md").read_text()
    shown = {columns[:2] for columns, _ in tables(report)}
    for missing in {*ROW_CHECKS, COMPARISONS} - shown:
        check.problems.append(f"report.md: no table {missing}")
    check_threats(report, facts, check)
    sentence = answer(facts)
    for where, text in (("report.md", report), ("README.md", example)):
        if sentence not in " ".join(text.split()):
            check.problems.append(f"{where}: does not say: {sentence}")
        check_tables(text, facts, check)
        check_prose(where, " ".join(text.split(" ")).replace(sentence, ""), allowed, check)
    for problem in check.problems:
        print(problem)
    print(f"{check.checked} numbers checked, {len(check.problems)} problems")
    sys.exit(bool(check.problems))


if __name__ == "__main__":
    main()

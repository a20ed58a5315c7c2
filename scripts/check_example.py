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
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from scipy.stats import binomtest, bootstrap, mannwhitneyu, norm, trim_mean

ROOT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent
NUMBER = re.compile(r"[+−-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
# Of the method, not of the runs: levels, resamples, coverage, bits; MNIST's training part; grids.
METHOD = {0.05, 95, 90, 88, 80, 10_000, 8, 5, 1, 0, 50_000, 64, 16}
Row = dict[str, str]


class Facts:
    """What the runs say, computed here and now."""

    def __init__(self, rows: list[Row], study: dict[str, object]) -> None:
        self.study = study
        self.rows = [row for row in rows if row["used"] == "True"]
        self.arms = list(dict.fromkeys(row["arm"] for row in self.rows))
        names = list(rows[0])
        self.test = next(
            name for name in names if name.startswith("metric.test/fid_") and ("floor" not in name)
        )
        self.validation = self.test.replace("test/", "val/")
        self.floor = float(rows[0][self.test.replace("fid_", "fid_floor_")] or self._any("floor"))

    def _any(self, part: str) -> str:
        key = self.test.replace("fid_", f"fid_{part}_")
        return next(row[key] for row in self.rows if row[key])

    def runs(self, arm: str, phase: str = "confirm") -> list[Row]:
        """Return an arm's runs of one phase."""
        return [row for row in self.rows if row["arm"] == arm and row["phase"] == phase]

    def scores(self, arm: str) -> np.ndarray:
        """Return test FIDs, inf for a run without one."""
        good = ("finished", "collapsed")
        return np.array(
            [
                float(row[self.test]) if row["outcome"] in good else math.inf
                for row in self.runs(arm)
            ]
        )

    def values(self, arm: str, column: str, phase: str = "confirm") -> np.ndarray:
        """Return a column of an arm's runs as numbers."""
        return np.array([float(row[column]) for row in self.runs(arm, phase) if row[column]])


def holm(p_values: list[float]) -> list[float]:
    """Return Holm's adjusted p-values."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(
        1, np.maximum.accumulate([(len(p_values) - i) * p_values[k] for i, k in enumerate(order)])
    )
    return adjusted.tolist()


def newcombe(estimate: float, n: int, m: int) -> tuple[float, float]:
    """Return the interval of P(A < B): the grid points within z standard errors of their own."""
    theta = np.linspace(0, 1, 1_000_001)
    k = (n + m) / 2 - 1
    spread = 1 + k * (1 - theta) / (2 - theta) + k * theta / (1 + theta)
    error = norm.ppf(0.975) * np.sqrt(theta * (1 - theta) * spread / (n * m))
    inside = theta[np.abs(estimate - theta) <= error + 1e-12]
    return float(inside.min()), float(inside.max())


def compare(facts: Facts, a: str, b: str) -> dict[str, float]:
    """Return the comparison of two arms; no ties among finite scores are expected."""
    x, y = facts.scores(a), facts.scores(b)
    test = mannwhitneyu(x, y, method="exact")
    n, m = len(x), len(y)
    wins = float(np.mean(x[:, None] < y) + np.mean(x[:, None] == y) / 2)
    x, y = x[np.isfinite(x)], y[np.isfinite(y)]
    df = len(x) + len(y) - 2
    pooled = math.sqrt(((len(x) - 1) * x.var(ddof=1) + (len(y) - 1) * y.var(ddof=1)) / df)
    correction = math.gamma(df / 2) / math.gamma((df - 1) / 2) / math.sqrt(df / 2)
    low, high = newcombe(wins, n, m)
    return {
        "wins": wins,
        "low": low,
        "high": high,
        "p": float(test.pvalue),
        "least": 2 / math.comb(n + m, n),
        "difference": float(x.mean() - y.mean()),
        "g": float((x.mean() - y.mean()) / pooled * correction),
    }


class Checker:
    """Collects what does not agree."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.checked = 0

    def number(self, where: str, token: str, value: float, slack: float = 0.0) -> None:
        """Note a printed number that is not `value` rounded to its own last place."""
        self.checked += 1
        if not agrees(token, value, slack):
            self.problems.append(f"{where}: printed {token}, computed {value:.6g}")

    def cell(self, where: str, cell: str, *values: float, slack: float = 0.0) -> None:
        """Check all numbers of a cell, in order; the slack is for ends of bootstrap intervals."""
        tokens = NUMBER.findall(cell)
        if len(tokens) != len(values):
            self.problems.append(f"{where}: {cell!r} should hold {len(values)} numbers")
            return
        for index, (token, value) in enumerate(zip(tokens, values, strict=True)):
            self.number(where, token, value, slack if index and slack else 0.0)


def agrees(token: str, value: float, slack: float = 0.0) -> bool:
    """Return whether a printed number is this value, rounded to its last place."""
    text = token.replace(",", "").replace("−", "-")
    mantissa, _, exponent = text.partition("e")
    places = len(mantissa.partition(".")[2]) - int(exponent or 0)
    return abs(float(text) - value) <= 0.5000001 * 10**-places + slack


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
        if columns[:2] == ("arms A against B", "P(A < B)"):
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
    interval = bootstrap(
        (scores,), lambda x, axis: trim_mean(x, 0.25, axis=axis), method="percentile", rng=1
    ).confidence_interval
    slack = 0.03 * (interval.high - interval.low)
    check.cell(f"{arm} IQM", iqm, middle, interval.low, interval.high, slack=slack)


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
        a, b = (facts.scores(arm) for arm in name.split(" against "))
        a, b = a[np.isfinite(a)], b[np.isfinite(b)]
        interval = bootstrap(
            (a, b),
            lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
            method="percentile",
            rng=1,
        ).confidence_interval
        slack = 0.03 * (interval.high - interval.low)
        ends = [interval.low, interval.high] if len(NUMBER.findall(difference)) > 1 else []
        check.cell(f"{name} difference", difference, each["difference"], *ends, slack=slack)


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


def cost(arm: str, facts: Facts) -> list[float]:
    """Return parameters, seconds per run, and number, images and seconds of the search."""
    run, search = facts.runs(arm)[0], facts.runs(arm, "search")
    images = [
        float(row["metric.progress/d_steps"] or 0) * float(row["param.batch_size"])
        for row in search
    ]
    return [
        float(run["param.parameters.generator"]),
        float(run["param.parameters.discriminator"]),
        float(facts.values(arm, "metric.progress/train_seconds").mean()),
        len(search),
        sum(images),
        float(facts.values(arm, "metric.progress/train_seconds", "search").sum()),
    ]


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
    difference = f"{found['difference']:+#.3g}".replace("-", "−")
    return (
        f"{verdict}: test FID {means[0]} against {means[1]}, difference {difference}; "
        f"P({a} < {b}) = {found['wins']:.2f} [{found['low']:.2f}, {found['high']:.2f}], exact "
        f"Mann-Whitney p = {found['p']:.4f} (least attainable {found['least']:.4f})."
    )


def late_change(facts: Facts, arm: str) -> float:
    """Return the median change of validation FID over the last fifth of the training, in %."""
    changes = []
    for row in facts.runs(arm):
        points = [point.split(":") for point in row["curve." + facts.validation[7:]].split()]
        curve = [(int(step), float(value)) for step, value in points]
        last = curve[-1][0]
        _, earlier = min(curve[:-1], key=lambda point: abs(point[0] - 0.8 * last))
        changes.append(100 * (curve[-1][1] / earlier - 1))
    return float(np.median(changes))


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
    for missing in {*ROW_CHECKS, ("arms A against B", "P(A < B)")} - shown:
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

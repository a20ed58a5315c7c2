"""How often do tests cry wolf, and intervals miss? The tables of docs/statistics.md.

`python benchmarks/inference.py` simulates studies whose truth is known and prints one table for
each claim; a name prints only that table, `--out FILE` writes all numbers as JSON. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy
from scipy.stats import binom

from harness.statistics import (
    FUTILE,
    Looks,
    hodges_lehmann,
    holm,
    interaction,
    smallest_shift,
    wilson_interval,
)
from harness.statistics.looks import PLANNED, lost_at_looks, null_law, simulated_losses
from harness.statistics.ranks import p_by_lost_pairs

Array = npt.NDArray[np.float64]
Rows = list[list[str]]
Table = tuple[str, list[str], Rows]

DESIGN = Looks((5, 8, 12, 20))
SHIFTS = (0.0, 1.0, 1.5, 2.0, 3.0)
NUM = 20_000
SKEW = 0.5


def p_values(a: Array, b: Array, sizes: Sequence[int]) -> Array:
    """Return the fixed-sample p at each look, (N, K), of studies (N, n_K) twice."""
    lost = lost_at_looks(a, b, sizes)
    return np.stack([p_by_lost_pairs(n, n)[2 * lost[:, k]] for k, n in enumerate(sizes)], axis=1)


def single_p(a: Array, b: Array) -> Array:
    """Return the p of one look, (N,), of studies (N, n) and (N, m)."""
    lost = (a[:, :, None] > b[:, None, :]).sum((1, 2))
    return p_by_lost_pairs(a.shape[1], b.shape[1])[2 * lost]


def sequential(least: Array, sizes: tuple[int, ...]) -> Array:
    """Return sequential p-values of the least p so far, of any shape."""
    law = null_law(sizes)
    values, inverse = np.unique(least, return_inverse=True)
    return np.array([law.chance(float(p)) for p in values])[inverse].reshape(least.shape)


def scores(generator: np.random.Generator, kind: str, shape: tuple[int, ...]) -> Array:
    drawn = generator.normal(size=shape)
    return np.exp(SKEW * drawn) if kind == "log-normal" else drawn


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def weighted(least: Array | float, law: Array) -> Array:
    """Return sequential p-values under a sorted law."""
    return (1 + np.searchsorted(law, least, side="right")) / (1 + len(law))


def weights() -> Table:
    """Compare weights (n_j/n_K)^rho: p_j / w_j in place of p_j."""
    sizes, generator = DESIGN.sizes, np.random.default_rng(1)
    tables = [p_by_lost_pairs(n, n)[::2] for n in sizes]
    null = np.stack([t[u] for t, u in zip(tables, simulated_losses(sizes).T, strict=True)], 1)
    draws = {
        shift: p_values(*generator.normal([[[0.0]], [[shift]]], size=(2, NUM, 20)), sizes)
        for shift in SHIFTS[1:]
    }
    rows = []
    for alpha in (0.05, 0.025):
        fixed = [f"{np.mean(p[:, -1] <= alpha):.3f} (20)" for p in draws.values()]
        rows.append([f"{alpha}", "one look at 20", "", "", *fixed])
        for rho in (0.0, 0.25, 0.5, 1.0):
            weight = (np.array(sizes) / sizes[-1]) ** rho
            law = np.sort((null / weight).min(1))

            apart = float(weighted(2 / 252 / weight[0], law))
            reached = weighted(np.minimum.accumulate(null / weight, axis=1), law) <= alpha
            spent = ", ".join(f"{share:.4f}" for share in reached.mean(0))
            cells = []
            for p in draws.values():
                hits = weighted(np.minimum.accumulate(p / weight, axis=1), law) <= alpha
                runs = np.where(hits.any(1), np.array(sizes)[hits.argmax(1)], sizes[-1])
                cells.append(f"{hits.any(1).mean():.3f} ({runs.mean():.1f})")
            rows.append([f"{alpha}", f"rho = {rho:g}", spent, f"{apart:.4f}", *cells])
    names = [f"{shift:g} sd" for shift in SHIFTS[1:]]
    return "Weights", ["alpha", "weights", "spent by look", "5:5 apart, p", *names], rows


def familywise() -> Table:
    """Count false claims with Holm at any look, comparisons sharing one baseline."""
    sizes, rows = DESIGN.sizes, []
    for num, shift in [(1, 0.0), (2, 0.0), (3, 0.0), (2, 2.0), (3, 2.0)]:
        generator = np.random.default_rng([2, num, int(shift)])
        baseline = generator.normal(size=(NUM, sizes[-1]))
        least = []
        for arm in range(num):
            moved = baseline + shift * (arm == num - 1)
            found = p_values(generator.normal(size=(NUM, sizes[-1])), moved, sizes)
            least.append(np.minimum.accumulate(found, axis=1))
        adjusted = sequential(np.stack(least, axis=1), sizes)  # (studies, comparisons, looks)
        alike = num - (shift != 0)
        by_look = []
        for look in range(len(sizes)):
            false = [min(holm(p)[:alike]) <= 0.05 for p in adjusted[:, :, look].tolist()]
            by_look.append(float(np.mean(false)))
        what = f"{num} alike" if not shift else f"{alike} alike, one better by {shift:g} sd"
        rows.append([what, *(f"{share:.4f}" for share in by_look)])
    return "False claims by look", ["arms against one baseline", *map(str, sizes)], rows


def attack() -> Table:
    """Count false claims of whoever reports and adds runs until p <= 0.05."""
    rows = []
    for last in (10, 20):
        sizes = tuple(range(5, last + 1))
        generator = np.random.default_rng([3, last])
        found = p_values(*generator.normal(size=(2, NUM, last)), sizes)
        fixed = float((found <= 0.05).any(1).mean())
        looked = float((sequential(found.min(1), sizes) <= 0.05).mean())
        rows.append([f"every n from 5 to {last}", percent(fixed), percent(looked)])
    found = p_values(*np.random.default_rng(4).normal(size=(2, NUM, 20)), DESIGN.sizes)
    fixed = float((found <= 0.05).any(1).mean())
    looked = float((sequential(found.min(1), DESIGN.sizes) <= 0.05).mean())
    rows.append(["5, 8, 12, 20", percent(fixed), percent(looked)])
    return "Adding runs until p <= 0.05", ["looks", "fixed tests", "`Looks`"], rows


def differences() -> Table:
    """Measure the coverage of the Hodges-Lehmann interval, at one look and when looks stop."""
    rows = []
    for what, kind, scale in [
        ("normal", "normal", 1.0),
        ("log-normal", "log-normal", 1.0),
        ("log-normal, A = 2 B", "log-normal", 2.0),
        ("normal, sd 3 and 1", "normal", 3.0),
    ]:
        generator = np.random.default_rng([5, int(scale), len(kind)])
        large = scores(generator, kind, (2, 1500))
        truth = 0.0 if scale == 1 or kind == "normal" else hodges_lehmann(*_scaled(large, scale))
        row = [what]
        for n in (5, 10, 20):
            a, b = scores(generator, kind, (2, NUM, n))
            row.append(f"{np.mean(single_p(scale * a - truth, b) > 0.05):.3f}")
        a, b = scores(generator, kind, (2, NUM, 20))
        zero, true = (
            np.minimum.accumulate(p_values(scale * a - shift, b, DESIGN.sizes), axis=1)
            for shift in (0.0, truth)
        )
        nominal = DESIGN.nominal(0.05)
        stopped = zero <= nominal
        stop = np.where(stopped.any(1), stopped.argmax(1), len(DESIGN.sizes) - 1)
        row.append(f"{np.mean(true[np.arange(NUM), stop] > nominal):.3f}")
        rows.append(row)
    header = ["scores", "n = 5", "10", "20", "5, 8, 12, 20 stopped when resolved"]
    return "Coverage of the interval of the difference", header, rows


def _scaled(large: Array, scale: float) -> tuple[list[float], list[float]]:
    """Return quantiles in place of draws, so that the true shift has no noise."""
    quantiles = np.sort(scipy.stats.norm.ppf((np.arange(1500) + 0.5) / 1500))
    whole = np.exp(SKEW * quantiles)
    return (scale * whole).tolist(), whole.tolist()


def interactions() -> Table:
    """Measure the coverage of Welch's interval of the contrast, beside the percentile bootstrap."""
    rows = []
    for what, kind, spread in [
        ("normal", "normal", (1, 1, 1, 1)),
        ("log-normal", "log-normal", (1, 1, 1, 1)),
        ("normal, sd 3, 1, 1, 1", "normal", (3, 1, 1, 1)),
        ("log-normal times 3, 1, 1, 1", "log-normal", (3, 1, 1, 1)),
    ]:
        row = [what]
        for n in (5, 10, 20):
            generator = np.random.default_rng([6, n, len(what)])
            mean = math.exp(SKEW**2 / 2) if kind == "log-normal" else 0.0
            truth = mean * (spread[0] - spread[1] - spread[2] + spread[3])
            studies = scores(generator, kind, (10_000, 4, n)) * np.array(spread)[:, None]
            ends = np.array([interaction([tuple(each)])[1] for each in studies.tolist()])
            welch = np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1]))
            covered = 0
            for study in studies[:2_000]:
                chosen = generator.integers(0, n, (4, 1000, n))
                b, f, s, o = (arm[index].mean(-1) for arm, index in zip(study, chosen, strict=True))
                low, high = np.quantile(b - f - s + o, [0.025, 0.975])
                covered += low <= truth <= high
            row.append(f"{welch:.3f} ({covered / 2_000:.3f})")
        rows.append(row)
    return "Coverage of the interaction, Welch (bootstrap)", ["scores", "n = 5", "10", "20"], rows


def spreads() -> Table:
    """Count rejections of arms of one mean and median, P(A < B) = 1/2, and unequal spread."""
    rows = []
    for n, m in [(5, 5), (10, 10), (20, 20), (20, 5), (5, 20)]:
        row = [f"{n} and {m}"]
        for ratio in (1, 3, 10):
            generator = np.random.default_rng([7, n, m, ratio])
            a, b = generator.normal(size=(NUM * 2, n)), generator.normal(size=(NUM * 2, m))
            row.append(percent(float(np.mean(single_p(a, ratio * b) <= 0.05))))
        rows.append(row)
    header = ["runs of A and B", "sd of B 1", "3", "10 times that of A"]
    return "Rejections at P = 1/2 with unequal spread", header, rows


def wilson() -> Table:
    """Compute the coverage of Wilson's interval: no chance, the binomial gives it exactly."""
    rows = []
    for n in (5, 10, 20, 50):
        ends = np.array([wilson_interval(count, n) for count in range(n + 1)])
        corners = np.clip(np.concatenate([ends.ravel() - 1e-9, ends.ravel() + 1e-9]), 0, 1)
        shares = np.linspace(0.0005, 0.9995, 1000)
        covered = [
            sum(
                binom.pmf(k, n, at) * ((ends[k, 0] <= at) & (at <= ends[k, 1]))
                for k in range(n + 1)
            )
            for at in (shares, corners)
        ]
        at = float(corners[covered[1].argmin()])
        worst = f"{covered[1].min():.4f} at {min(at, 1 - at):.4f}"
        rows.append([str(n), f"{covered[0].mean():.4f}", worst])
    return "Coverage of Wilson's interval", ["n", "mean over shares", "least"], rows


def savings() -> Table:
    """Tell how many runs per arm looks take, and what they find, beside as many in one look."""
    sizes, rows = DESIGN.sizes, []
    for shift in SHIFTS:
        generator = np.random.default_rng([8, int(10 * shift)])
        found = p_values(*generator.normal([[[0.0]], [[shift]]], size=(2, NUM, 20)), sizes)
        row = [f"{shift:g} sd"]
        for alpha in (0.05, 0.025):
            hits = np.minimum.accumulate(found, axis=1) <= DESIGN.nominal(alpha)
            runs = np.where(hits.any(1), np.array(sizes)[hits.argmax(1)], sizes[-1])
            row += [f"{hits[:, -1].mean():.3f}", f"{np.mean(found[:, -1] <= alpha):.3f}"]
            row.append(f"{runs.mean():.1f}")
        rows.append(row)
    header = ["difference"]
    for alpha in (0.05, 0.025):
        header += [f"found, alpha {alpha}", "one look at 20", "runs per arm"]
    return "Looks 5, 8, 12, 20 beside one look at 20", header, rows


def designs() -> Table:
    """List what designs can find, and the least p."""
    rows = []
    for sizes in [(5,), (6,), (8,), (10,), (12,), (20,), (5, 10), (5, 8, 12), (5, 8, 12, 20)]:
        looks = Looks(sizes)
        found = [smallest_shift(looks, alpha=0.05 / count) for count in (1, 2, 3, 5)]
        cells = ["none" if shift == math.inf else f"{shift:.1f}" for shift in found]
        rows.append([", ".join(map(str, sizes)), f"{looks.smallest_p(1):.2g}", *cells])
    header = ["runs per arm", "least p at the first look", "1 comparison", "2", "3", "5"]
    return "Smallest difference in sd found with 80 % power at 0.05 / comparisons", header, rows


def spent() -> Table:
    """List the false-alarm rate spent by each look, and the fixed-sample p that rejects."""
    rows = []
    for sizes, alpha in itertools.product([(5, 8, 12, 20), (5, 10), (5, 8, 12)], (0.05, 0.025)):
        looks = Looks(sizes)
        shares = ", ".join(f"{share:.4f}" for share in looks.spent(alpha))
        rows.append([", ".join(map(str, sizes)), f"{alpha}", f"{looks.nominal(alpha):.4f}", shares])
    return "Level spent by each look", ["looks", "alpha", "p that rejects", "spent"], rows


def futility() -> Table:
    """Tell what stopping for futility saves and costs, by the difference that it takes to be true.

    None: nobody stops. Planned: what the last look finds with 80 % power, which is the rule. Seen:
    what the runs so far show.
    """
    rows = []
    for sizes, alpha in itertools.product([(5, 8, 12, 20), (5, 8, 12)], (0.05, 0.025)):
        looks, n = Looks(sizes), np.array(sizes)
        needed = float(scipy.stats.norm.isf(looks.nominal(alpha) / 2))
        share = n[:-1] / n[-1]
        for rule in ("none", "planned", "seen"):
            cells = []
            for shift in (0.0, 0.5, *SHIFTS[1:4]):
                generator = np.random.default_rng([9, int(10 * shift)])
                a, b = generator.normal([[[0.0]], [[shift]]], size=(2, NUM, sizes[-1]))
                lost = lost_at_looks(a, b, sizes)
                seen = np.abs(lost / n**2 - 0.5) * n / np.sqrt((2 * n + 1) / 12)
                hits = p_values(a, b, sizes) <= looks.nominal(alpha)
                stops = np.zeros_like(hits)
                if rule != "none":
                    early = seen[:, :-1]
                    drift = (
                        needed + scipy.stats.norm.ppf(PLANNED)
                        if rule == "planned"
                        else early / np.sqrt(share)
                    )
                    missing = needed - early * np.sqrt(share) - drift * (1 - share)
                    stops[:, :-1] = scipy.stats.norm.sf(missing / np.sqrt(1 - share)) < FUTILE
                ended = hits | stops
                ended[:, -1] = True
                last = ended.argmax(1)
                found = hits[np.arange(NUM), last]
                cells.append(f"{found.mean():.3f} ({n[last].mean():.1f})")
            rows.append([", ".join(map(str, sizes)), f"{alpha}", rule, *cells])
    header = ["looks", "alpha", "taken to be true", "0 sd", "0.5 sd", "1 sd", "1.5 sd", "2 sd"]
    return "Found (runs per arm) with a rule of futility", header, rows


TABLES: tuple[Callable[[], Table], ...] = (
    weights, spent, savings, familywise, attack, differences, interactions, spreads, wilson,
    designs, futility,
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *(table.__name__ for table in TABLES)])
    parser.add_argument("--out", type=Path, help="write all numbers as JSON")
    options = parser.parse_args()
    found = {}
    for table in TABLES:
        if options.names and table.__name__ not in options.names:
            continue
        started = time.perf_counter()
        title, header, rows = table()
        found[table.__name__] = {"title": title, "columns": header, "rows": rows}
        print(f"\n{title} ({time.perf_counter() - started:.0f} s)\n")
        for cells in (header, ["---"] * len(header), *rows):
            print(f"| {' | '.join(cells)} |")
    if options.out:
        versions = {"python": platform.python_version(), "numpy": np.__version__}
        versions["scipy"] = scipy.__version__
        options.out.write_text(json.dumps({"versions": versions, "tables": found}, indent=1))


if __name__ == "__main__":
    main()

"""What the example's runs say, computed here and now with plain NumPy and SciPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu, norm

Row = dict[str, str]


class Facts:
    """What the runs say, computed here and now."""

    def __init__(self, rows: list[Row], study: dict[str, Any]) -> None:
        self.study = study
        self.rows = [row for row in rows if row["used"] == "True"]
        self.arms = list(dict.fromkeys(row["arm"] for row in self.rows))
        self.baseline: str = study["baseline"]["architecture"]
        self.others = [arm for arm in self.arms if arm != self.baseline]
        names = list(rows[0])
        self.test = next(
            name for name in names if name.startswith("metric.test/fid_") and ("floor" not in name)
        )
        self.validation = self.test.replace("test/", "val/")
        self.kid = self.test.replace("fid_", "kid_")
        self.spread = self.test.replace("fid_", "feature_spread_")
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
        "difference": float(np.median(x[:, None] - y)),
        "g": float((x.mean() - y.mean()) / pooled * correction),
    }


def shifts(x: np.ndarray, y: np.ndarray, level: float) -> tuple[float, float]:
    """Return the ends of the shifts that the test accepts, tried between the differences."""
    ends = np.sort((x[:, None] - y).ravel())
    middles = (ends[1:] + ends[:-1]) / 2
    kept = [
        k for k, d in enumerate(middles) if mannwhitneyu(x - d, y, method="exact").pvalue > level
    ]
    return float(ends[kept[0]]), float(ends[kept[-1] + 1])


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


def curves(facts: Facts, arm: str) -> list[list[tuple[int, float]]]:
    """Return (images, validation FID) of every confirm run."""
    points = [row["curve." + facts.validation[7:]].split() for row in facts.runs(arm)]
    pairs = [[point.split(":") for point in run] for run in points]
    return [[(int(step), float(value)) for step, value in run] for run in pairs]


def late_changes(facts: Facts, arm: str) -> list[float]:
    """Return every run's change of validation FID over the last fifth of its training, in %."""
    changes = []
    for curve in curves(facts, arm):
        last = curve[-1][0]
        _, earlier = min(curve[:-1], key=lambda point: abs(point[0] - 0.8 * last))
        changes.append(100 * (curve[-1][1] / earlier - 1))
    return changes


def ends_of_tried(facts: Facts, arm: str) -> dict[str, str]:
    """Return tuned parameters whose confirmed value no trial went beyond, and which end it is."""
    found = {}
    for key in facts.study["space"]:
        tried = facts.values(arm, f"param.{key}", "search")
        confirmed = float(facts.runs(arm)[0][f"param.{key}"])
        if confirmed in (tried.min(), tried.max()):
            found[key] = "largest" if confirmed == tried.max() else "smallest"
    return found

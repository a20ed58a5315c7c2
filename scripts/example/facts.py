"""What the example's runs say, read with nothing but the standard library and NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Row = dict[str, str]
Array = np.ndarray
SCORED = ("finished", "collapsed")
MARGIN = 0.05  # coverage that a better arm may lack, where the study names none
SPENT = {
    "images": None,
    "seconds": "progress/train_seconds",
    "FLOPs": "progress/flops",
}


class Facts:
    """What the runs say: two arms of five confirm runs, all of which must have a score."""

    def __init__(self, rows: list[Row], study: dict[str, Any], source_sha256: str) -> None:
        self.study = study
        self.source_sha256 = source_sha256
        self.all_rows = rows
        self.rows = [row for row in rows if row["used"] == "True"]
        self.arms = list(dict.fromkeys(row["arm"] for row in self.rows))
        self.baseline: str = study["baseline"]["architecture"]
        first = self.rows[0]
        self.protocol = next(
            name.removeprefix("metric.test/fid_")
            for name in first
            if name.startswith("metric.test/fid_") and not ("floor" in name or "judge" in name)
        )
        self.samples = int(first["param.evaluate.samples"])
        size = self.protocol.removeprefix(first["param.evaluate.extractor"])
        self.judge_protocol = f"{self.param('evaluate.judge')}{size}"
        self.test, self.validation = (f"{split}/fid_{self.protocol}" for split in ("test", "val"))
        self._check()

    def _check(self) -> None:
        for arm in self.arms:
            seeds = self.study["confirm"]["seeds"], self.study["search"]["trials_per_arm"]
            found = tuple(len(self.runs(arm, phase)) for phase in ("confirm", "search"))
            scored = [row for row in self.runs(arm) if row["outcome"] in SCORED]
            if len(self.arms) != 2 or found != seeds or len(scored) != 5:
                raise SystemExit("the check knows two arms of five confirm runs, all with a score")

    @property
    def other(self) -> str:
        """The arm that is compared with the baseline."""
        return next(arm for arm in self.arms if arm != self.baseline)

    @property
    def pair(self) -> tuple[str, str]:
        """Both arms, in the order in which they are compared."""
        return self.other, self.baseline

    @property
    def margin(self) -> float:
        """How much less coverage the better arm may have."""
        return float(self.study["confirm"].get("coverage_margin", MARGIN))

    def runs(self, arm: str, phase: str = "confirm") -> list[Row]:
        """Return an arm's runs of one phase."""
        return [row for row in self.rows if row["arm"] == arm and row["phase"] == phase]

    def param(self, key: str) -> str:
        """Return a setting or fact that is the same in all runs that have it."""
        return next(row[f"param.{key}"] for row in self.rows if row[f"param.{key}"])

    def values(self, arm: str, metric: str, phase: str = "confirm") -> Array:
        """Return a metric of an arm's runs, infinite for one without a score."""
        return np.array([value_of(row, metric) for row in self.runs(arm, phase)])

    def settings(self, arm: str, key: str, phase: str = "search") -> Array:
        """Return a numeric setting of an arm's runs."""
        return np.array([float(row[f"param.{key}"]) for row in self.runs(arm, phase)])

    def scores(self, arm: str) -> Array:
        """Return test FIDs of the confirm runs."""
        return self.values(arm, self.test)

    def figure(self, arm: str, name: str, *, judged: bool = False) -> Array:
        """Return another figure of the same samples, by the second ruler if `judged`."""
        return self.values(arm, f"test/{name}_{self.judge_protocol if judged else self.protocol}")

    def floor(self, name: str, *, judged: bool = False) -> tuple[float, float]:
        """Return what real images score on the test split, and its sd; NaN where there is none."""
        protocol = self.judge_protocol if judged else self.protocol
        keys = (f"metric.test/{name}_{kind}_{protocol}" for kind in ("floor", "floor_sd"))
        mean, sd = (self._first(key) for key in keys)
        return mean, sd

    def _first(self, column: str) -> float:
        confirmed = (row.get(column, "") for arm in self.arms for row in self.runs(arm))
        return next((float(value) for value in confirmed if value), np.nan)

    def curves(self, arm: str) -> tuple[Array, Array]:
        """Return images at each evaluation, (T,), and validation FIDs there, (runs, T)."""
        found = [self._curve(row, self.validation) for row in self.runs(arm)]
        if len({tuple(images) for images, _ in found}) > 1:
            raise SystemExit(f"{arm}: runs were scored after different numbers of images")
        return found[0][0], np.array([values for _, values in found])

    def spending(self, arm: str, resource: str) -> Array:
        """Return what had been spent by each evaluation: the median over an arm's runs, (T,)."""
        metric = SPENT[resource]
        if metric is None:
            return self.curves(arm)[0]
        return np.median([self._curve(row, metric)[1] for row in self.runs(arm)], axis=0)

    def _curve(self, row: Row, metric: str) -> tuple[Array, Array]:
        points = [point.split(":") for point in row[f"curve.{metric}"].split()]
        images, values = np.array(points, float).T
        return images, values


def value_of(row: Row, metric: str) -> float:
    """Return a run's final metric, infinite where it has none or did not come to its end."""
    text = row.get(f"metric.{metric}", "")
    return float(text) if text and row["outcome"] in SCORED else np.inf


def ranges(numbers: Sequence[int]) -> str:
    """Spell numbers with neighbours as ranges: `0 to 4, 7`."""
    starts = [each for each in numbers if each - 1 not in numbers]
    ends = [each for each in numbers if each + 1 not in numbers]
    pairs = zip(starts, ends, strict=True)
    return ", ".join(f"{a} to {b}" if a < b else f"{a}" for a, b in pairs)


def mean_sd(values: Array) -> tuple[float, float]:
    """Return mean and sample standard deviation of values that are finite."""
    return float(values.mean()), float(values.std(ddof=1))


def largest_over(values: dict[str, float], ratio: float) -> tuple[str, str, float] | None:
    """Return which arm has most, which least, and their ratio if it is above `ratio`."""
    (least, few), (most, many) = sorted(values.items(), key=lambda item: item[1])
    return (most, least, many / few) if many > ratio * few else None

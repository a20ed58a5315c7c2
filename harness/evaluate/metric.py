"""What a metric is: named figures of generated images' features against real ones'.

To add one, write a file such as `metrics/fid.py` beside it, or one that is named with `--plugin`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor

from harness.data import Mixture
from harness.errors import unknown_name
from harness.evaluate.config import EvaluateConfig
from harness.registry import Registry, first_line


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What a metric sees.

    Attributes:
        real: Features of the split's real images, (n, d) float32.
        fake: Features of as many generated ones.
        train: Features of as many training images.
        real_classes: The ruler's class probabilities of the real images, (n, K), or None where it
            knows no classes.
        fake_classes: Of the generated ones.
        real_labels: The real images' classes, (n,) int64, or None where the data carry none.
        fake_labels: The classes that the generated ones were asked for, likewise; None where they
            were asked for none.
        sources: The images that the generated ones are translations of, (n, C, H, W) uint8; None
            where none are translated.
        returned: These translations translated back, likewise; None too where nothing leads back.
        density: What real images are drawn from, where that is known; their features are
            themselves then.
        config: The study's `[evaluate]` table.
    """

    real: Tensor
    fake: Tensor
    train: Tensor
    real_classes: Tensor | None = None
    fake_classes: Tensor | None = None
    real_labels: Tensor | None = None
    fake_labels: Tensor | None = None
    sources: Tensor | None = None
    returned: Tensor | None = None
    density: Mixture | None = None
    config: EvaluateConfig


FloorKind = Literal["train", "held_out"]
Compute: TypeAlias = Callable[[Compared], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number that a metric returns.

    Attributes:
        name: As in metric keys, e.g. `fid`.
        label: As people write it, e.g. "FID".
        description: One line for `harness list metrics`.
        best: Whether `lower` or `higher` is better, or the value that is best.
        log: Whether it is positive over orders of magnitude: drawn and analysed on a log scale.
        caveat: What it does not show, as the end of a sentence that its label starts.
    """

    name: str
    label: str
    description: str
    best: Literal["lower", "higher"] | float
    log: bool = False
    caveat: str = ""

    def direction(self) -> str:
        """Return in words which values are good, e.g. "lower is better"."""
        return f"{self.best} is better" if isinstance(self.best, str) else f"{self.best:g} is best"

    @property
    def beats(self) -> str:
        """The sign between a better value and a worse one: "<" or ">"."""
        return ">" if self.best == "higher" else "<"

    @property
    def sign(self) -> int:
        """1 or -1: what a value is multiplied by to be a cost, of which less is better."""
        return -1 if self.best == "higher" else 1

    def cost(self, value: float | None) -> float:
        """Return a value as a cost, which ranks what has none worst: `inf`."""
        return math.inf if value is None else self.sign * value

    def value(self, cost: float) -> float | None:
        """Return the value of a cost; None of what has none."""
        return self.sign * cost if math.isfinite(cost) else None


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Figures that are computed together.

    Attributes:
        figures: What `compute` returns.
        compute: Returns every figure by its name; one that these images do not have is left out.
        floor: Which real images are scored too, for what a perfect model would get: several draws
            of training images, or the other held-out part where training images are no control.
        at_end: Whether it is computed at the end of a run only, unless runs are ranked by it.
        needs_classes: Whether it is left out where the ruler knows no classes.
        needs_labels: Whether it is left out where samples were asked for no classes, or the data
            carry none.
        needs_returned: Whether it is left out where samples are no translations that lead back.
        needs_density: Whether it is left out where the data's density is not known.
        protocol: Returns what metric keys must say beside extractor and number of samples, where
            the config differs from its defaults; else "".
        facts: Returns what a run's record says of it, for this config and number of samples, under
            names that start with a figure's.
    """

    figures: tuple[Figure, ...]
    compute: Compute
    floor: FloorKind | None
    at_end: bool
    needs_classes: bool
    needs_labels: bool
    needs_returned: bool
    needs_density: bool
    protocol: Callable[[EvaluateConfig], str]
    facts: Callable[[EvaluateConfig, int], Mapping[str, str]]


METRICS: Registry[Metric] = Registry("metric")
FLOOR = "_floor"  # ends the names of what real images score
COPY = f"{FLOOR}_copy"  # and of what the images score that are translated, as they are
BACK = "to_a"  # ends the keys of translations back
JUDGE = "judge"  # stands in the names of second rulers, before their version
_JUDGE_NAME = rf"_{JUDGE}_(v\d+|[0-9a-f]{{8}})"


def metric(
    *figures: Figure,
    floor: FloorKind | None = None,
    at_end: bool = False,
    needs_classes: bool = False,
    needs_labels: bool = False,
    needs_returned: bool = False,
    needs_density: bool = False,
    protocol: Callable[[EvaluateConfig], str] = lambda config: "",
    facts: Callable[[EvaluateConfig, int], Mapping[str, str]] = lambda config, num_samples: {},
) -> Callable[[Compute], Compute]:
    """Register the decorated function as a metric under its name."""

    def register(compute: Compute) -> Compute:
        taken = {figure.name for figure in all_figures()}
        for figure in figures:
            if figure.name in taken or FLOOR in figure.name:
                raise ValueError(f"the figure {figure.name!r} is taken by another metric")
        entry = Metric(
            figures=figures,
            compute=compute,
            floor=floor,
            at_end=at_end,
            needs_classes=needs_classes,
            needs_labels=needs_labels,
            needs_returned=needs_returned,
            needs_density=needs_density,
            protocol=protocol,
            facts=facts,
        )
        METRICS.add(compute.__name__, entry, first_line(compute))
        return compute

    return register


def all_figures() -> list[Figure]:
    """Return the figures of all metrics."""
    return [figure for name in METRICS for figure in METRICS[name].figures]


def metric_of(figure: str) -> Metric:
    """Return the metric that a figure, or its floor, belongs to; raises HarnessError for others."""
    name = figure.partition(FLOOR)[0]
    owners = {each.name: METRICS[key] for key in METRICS for each in METRICS[key].figures}
    if name not in owners:
        raise unknown_name("figure", name, owners)
    return owners[name]


def figure_of(key: str) -> Figure:
    """Return the figure of a full name such as `val/fid_mnist_cnn_v1_10k`.

    Raises:
        HarnessError: No registered metric has it.
    """
    figures = all_figures()
    text = key.partition("/")[2]
    found = [figure for figure in figures if f"{text}_".startswith(f"{figure.name}_")]
    if not found:
        raise unknown_name("figure", key, [figure.name for figure in figures])
    return max(found, key=lambda figure: len(figure.name))


def is_score(key: str) -> bool:
    """Return whether a recorded value is a figure on held-out images: of samples, or a floor."""
    return key.startswith(("val/", "test/"))


def is_back(key: str) -> bool:
    """Return whether a recorded value is of translations back, or a floor of these."""
    return key.endswith(f"_{BACK}")


def is_judge(extractor: str) -> bool:
    """Return whether an extractor is a second ruler, which chooses nothing (see `judge`)."""
    return re.search(f"{_JUDGE_NAME}$", extractor) is not None


def is_judged(key: str) -> bool:
    """Return whether a recorded value is by a second ruler: of samples, or a floor of these.

    Nothing stands behind its name but the number of samples.
    """
    return is_score(key) and re.search(rf"{_JUDGE_NAME}_\d+k?$", key) is not None


def is_floor(key: str) -> bool:
    """Return whether a recorded value is what real images score."""
    return is_score(key) and key.partition("/")[2].startswith(f"{figure_of(key).name}{FLOOR}")


def objective_figure(name: str) -> Figure:
    """Return the figure that a study ranks by.

    Raises:
        HarnessError: No metric has it, or neither its lowest nor its highest value is best.
    """
    allowed = {figure.name: figure for figure in all_figures() if isinstance(figure.best, str)}
    if name not in allowed:
        raise unknown_name("evaluate.objective", name, allowed)
    return allowed[name]


def describe_figures() -> dict[str, str]:
    """Return name -> description of every figure of every metric, floors included."""
    lines: dict[str, str] = {}
    for name in METRICS:
        for figure in METRICS[name].figures:
            where = ", where samples are asked of a class" * METRICS[name].needs_labels
            where += ", where translations lead back" * METRICS[name].needs_returned
            where += ", where the data's density is known" * METRICS[name].needs_density
            lines[figure.name] = f"{figure.description}{where}, {figure.direction()}"
            if METRICS[name].floor == "train":
                lines[f"{figure.name}{FLOOR}"] = (
                    f"{figure.label} of training images, mean of several draws of as many; "
                    f"{FLOOR}_sd: their standard deviation; {FLOOR}_train: of one draw against "
                    "another; _copy: of images that are translated, as they are"
                )
            elif METRICS[name].floor == "held_out":
                lines[f"{figure.name}{FLOOR}"] = f"{figure.label} of the other held-out part"
    return lines

"""What a metric is: named figures of generated images' features against real ones'.

To add one, write a file such as `fid.py`, decorate its function with `@metric`, and import it in
`harness/evaluate/__init__.py` or name it with `--plugin`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor

from harness.evaluate.config import EvaluateConfig
from harness.registry import Registry, first_line


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What a metric sees.

    Attributes:
        real: Features of real images, (n, d) float32.
        fake: Features of as many generated ones.
        config: The study's `[evaluate]` table.
    """

    real: Tensor
    fake: Tensor
    config: EvaluateConfig


Compute: TypeAlias = Callable[[Compared], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number that a metric returns.

    Attributes:
        name: As in metric keys, e.g. `fid`.
        label: As people write it, e.g. "FID".
        description: One line for `harness list metrics`.
        best: Whether `lower` or `higher` is better, or the value that is best.
    """

    name: str
    label: str
    description: str
    best: Literal["lower", "higher"] | float

    def direction(self) -> str:
        """Return in words which values are good, e.g. "lower is better"."""
        return f"{self.best} is better" if isinstance(self.best, str) else f"{self.best:g} is best"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Figures that are computed together.

    Attributes:
        figures: What `compute` returns.
        compute: Returns every figure by its name.
        has_floor: Whether real images are scored too: what a perfect model would get.
        protocol: Returns what metric keys must say beside extractor and number of samples, where
            the config differs from its defaults; else "".
    """

    figures: tuple[Figure, ...]
    compute: Compute
    has_floor: bool
    protocol: Callable[[EvaluateConfig], str]


METRICS: Registry[Metric] = Registry("metric")


def metric(
    *figures: Figure,
    has_floor: bool = False,
    protocol: Callable[[EvaluateConfig], str] = lambda config: "",
) -> Callable[
    [Callable[[Compared], Mapping[str, float]]], Callable[[Compared], Mapping[str, float]]
]:
    """Register the decorated function as a metric under its name."""

    def register(
        compute: Callable[[Compared], Mapping[str, float]],
    ) -> Callable[[Compared], Mapping[str, float]]:
        entry = Metric(figures=figures, compute=compute, has_floor=has_floor, protocol=protocol)
        METRICS.add(compute.__name__, entry, first_line(compute))
        return compute

    return register


def describe_figures() -> dict[str, str]:
    """Return name -> description of every figure of every metric, floors included."""
    lines: dict[str, str] = {}
    for name in METRICS:
        for figure in METRICS[name].figures:
            lines[figure.name] = f"{figure.description}, {figure.direction()}"
            if METRICS[name].has_floor:
                lines[f"{figure.name}_floor"] = (
                    f"{figure.label} of real training images at the same number of samples"
                )
    return lines

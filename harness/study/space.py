"""What is tuned inside an arm, and the points of it that a search will try."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

import numpy as np
from pydantic import Discriminator, Field, Tag, model_validator
from scipy.stats import qmc

from harness.config import Config
from harness.errors import HarnessError
from harness.systems import known_settings

Setting = bool | int | float | str
Sampler = Literal["random", "tpe", "qmc", "grid"]


def _keys(raw: Any) -> Any:
    return raw if isinstance(raw, dict) else getattr(type(raw), "model_fields", ())


class Choice(Config):
    """A parameter with listed values, written as a list."""

    values: Annotated[tuple[Setting, ...], Field(strict=False, min_length=1)]
    """The values, in order; the first is the default where TrainConfig's is not among them."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(map(repr, self.values))) != len(self.values):
            raise ValueError(f"{list(self.values)}: a value is listed twice")
        return self

    def at(self, unit: float) -> Setting:
        """Return the value at a position in [0, 1)."""
        return self.values[min(int(unit * len(self.values)), len(self.values) - 1)]

    def contains(self, value: object) -> bool:
        """Return whether `value` is one of the values."""
        return value in self.values

    def grid(self) -> list[Setting]:
        """Return all values."""
        return list(self.values)

    corners = grid


class Range(Config):
    """A numeric parameter, written as `{ low = …, high = …, log = true }`."""

    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    log: bool = False
    """Whether to draw uniformly in the logarithm."""
    integer: bool = False
    """Whether values are whole numbers; follows from the setting's type."""
    default: float | None = None
    """The arm's trial 0; omitted: what the arm would use untuned, if it lies inside."""
    num: Annotated[int, Field(ge=2)] | None = None
    """Values that the grid sampler takes from low to high."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low = {self.low} must be below high = {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low = {self.low}: a log range must start above 0")
        for end in (self.low, self.high, self.default):
            if self.integer and end is not None and not float(end).is_integer():
                raise ValueError(f"{end} is not a whole number, and this setting takes only those")
        if self.default is not None and not self.contains(self.default):
            raise ValueError(f"default = {self.default} is outside [{self.low}, {self.high}]")
        return self

    def at(self, unit: float) -> Setting:
        """Return the value at a position in [0, 1)."""
        # A whole number owns an equally long piece of the (log) axis, from value to value + 1.
        low, high = self.low, self.high + self.integer
        if self.log:
            value = math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
        else:
            value = low + unit * (high - low)
        if self.integer:
            return int(min(max(math.floor(value), self.low), self.high))
        return min(max(value, self.low), self.high)

    def contains(self, value: object) -> bool:
        """Return whether `value` lies in the range."""
        return isinstance(value, int | float) and self.low <= value <= self.high

    def grid(self) -> list[Setting]:
        """Return `num` evenly spaced values."""
        if self.num is None:
            raise HarnessError("the grid sampler needs num, the number of values, in every range")
        space = np.geomspace if self.log else np.linspace
        values = space(self.low, self.high, self.num).tolist()
        values[0], values[-1] = self.low, self.high
        if not self.integer:
            return list(values)
        return list(dict.fromkeys(round(value) for value in values))

    def corners(self) -> list[Setting]:
        """Return both ends."""
        return [int(v) if self.integer else v for v in (self.low, self.high)]


Parameter = Annotated[
    Annotated[Choice, Tag("(list)")] | Annotated[Range, Tag("(range)")],
    Discriminator(lambda raw: "(list)" if "values" in _keys(raw) else "(range)"),
]
Space = Mapping[str, Parameter]
Point = dict[str, Setting]


def read_space(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Turn `key = [..]` and `key = {low, high}` into the dicts of `Choice` and `Range`."""
    space: dict[str, Any] = {}
    for key, value in raw.items():
        if isinstance(value, list | tuple):
            space[key] = {"values": list(value)}
        elif isinstance(value, dict) and "values" not in value:
            field = known_settings().get(key)
            space[key] = {**value, "integer": field is not None and _is_whole(field.annotation)}
        else:
            space[key] = value
    return space


def _is_whole(annotation: Any) -> bool:
    """Return whether a setting's numbers are whole ones, also where it need not be a number."""
    if get_origin(annotation) is Annotated:
        return _is_whole(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        kinds = get_args(annotation)
        return float not in kinds and any(map(_is_whole, kinds))
    return annotation is int


def default_point(space: Space, settings: Mapping[str, Any]) -> Point:
    """Return the defaults of all tuned parameters: trial 0 of every arm.

    Args:
        space: What is tuned.
        settings: The arm's complete settings as they would be if nothing were tuned.

    Raises:
        HarnessError: A default lies outside a range that names none itself.
    """
    point: Point = {}
    for key, parameter in space.items():
        default = settings[key]
        if isinstance(parameter, Range):
            default = default if parameter.default is None else parameter.default
            if default is None:
                raise HarnessError(
                    f"space.{key}: {key} is off where nothing is tuned; give the range a default"
                )
            if not parameter.contains(default):
                raise HarnessError(
                    f"space.{key}: the default {default} is outside [{parameter.low}, "
                    f"{parameter.high}]; widen the range or give it a default of its own"
                )
            point[key] = int(default) if parameter.integer else float(default)
        else:
            default = "none" if default is None else default
            point[key] = default if parameter.contains(default) else parameter.values[0]
    return point


def corner_points(space: Space, limit: int = 1024) -> list[Point]:
    """Return the product of every parameter's extreme values, at most `limit` of them."""
    values = [parameter.corners() for parameter in space.values()]
    product = itertools.islice(itertools.product(*values), limit)
    return [dict(zip(space, point, strict=True)) for point in product]


def whole_points(space: Space, first: Point, limit: int = 512) -> list[Point]:
    """Return the arm's defaults with every whole number that a range may give, one at a time.

    Between two possible ends there may be impossible numbers, e.g. batches that packs do not
    divide.

    Args:
        space: What is tuned.
        first: The arm's defaults.
        limit: Values per range at most, from its low end.
    """
    return [
        {**first, key: value}
        for key, parameter in space.items()
        if isinstance(parameter, Range) and parameter.integer
        for value in itertools.islice(range(int(parameter.low), int(parameter.high) + 1), limit)
    ]


def draw_points(
    space: Space, first: Point, sampler: Sampler, count: int | None, seed: int
) -> list[Point | None]:
    """Return the points of one arm's search.

    A longer list of the same seed starts with the shorter one, so a study can be extended.

    Args:
        space: What is tuned; empty: `first` is the only point.
        first: The arm's defaults.
        sampler: How; for `tpe` all but the first are None, to be suggested when they are run.
        count: Number of points; None for `grid`, whose cells are its count.
        seed: Source of random and quasi-random points.

    Raises:
        HarnessError: `count` is not the grid's number of points.
    """
    if not space:
        return [first]
    if sampler == "grid":
        cells = itertools.product(*(parameter.grid() for parameter in space.values()))
        points = [dict(zip(space, cell, strict=True)) for cell in cells]
        points = [first, *(point for point in points if point != first)]
        if count not in (None, len(points)):
            raise HarnessError(
                f"search.trials_per_arm = {count}: this grid has {len(points)} points, its "
                "defaults included; omit the key or use that number"
            )
        return list(points)
    assert count is not None
    if sampler == "tpe":
        return [first, *([None] * (count - 1))]
    units = _unit_points(sampler, count - 1, len(space), seed)
    return [
        first,
        *(
            {key: space[key].at(unit) for key, unit in zip(space, row, strict=True)}
            for row in units
        ),
    ]


def _unit_points(sampler: Sampler, count: int, dimensions: int, seed: int) -> list[list[float]]:
    generator = np.random.default_rng(seed)
    if sampler == "random":
        return [list(row) for row in generator.random((count, dimensions))]
    if count == 0:
        return []
    sobol = qmc.Sobol(dimensions, scramble=True, rng=generator)
    # Sobol points come in powers of two; a prefix of a larger block is the same sequence.
    block = sobol.random_base2(math.ceil(math.log2(max(count, 2))))
    return [list(row) for row in block[:count]]

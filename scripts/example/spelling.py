"""Numbers as the report prints them."""

from __future__ import annotations

import math

NONE = "–"


def decimals(value: float, digits: int = 3) -> int:
    """Return how many decimals show so many significant digits."""
    return max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0


def number(value: float, places: int | None = None, sign: str = "") -> str:
    """Spell a number with three significant digits, or so many decimals; `sign` "+" shows both."""
    places = decimals(value) if places is None else places
    return f"{value:{sign}.{places}f}".replace("-", "−")


def plus_minus(mean: float, sd: float) -> str:
    """Spell a mean and its standard deviation, to the second digit of the latter."""
    places = decimals(sd, 2)
    return f"{mean:.{places}f} ± {sd:.{places}f}"


def interval(
    value: float, low: float, high: float, places: int | None = None, sign: str = ""
) -> str:
    """Spell a value with an interval, all with as many decimals as either needs."""
    if places is None:
        places = max(decimals(high - low, 2), decimals(value))
    middle, *ends = (number(each, places, sign) for each in (value, low, high))
    return f"{middle} [{', '.join(ends)}]"


def setting(value: float) -> str:
    """Spell a learning rate."""
    return f"{value:.3g}"

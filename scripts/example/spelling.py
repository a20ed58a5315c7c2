"""Numbers as the report prints them."""

from __future__ import annotations

import math
from collections.abc import Sequence

NONE = "–"


def decimals(value: float, digits: int = 3) -> int:
    """Return how many decimals show so many significant digits."""
    return max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0


def number(value: float, places: int | None = None, sign: str = "") -> str:
    """Spell a number with three significant digits, or so many decimals; `sign` "+" shows both."""
    if not math.isfinite(value):
        return NONE
    places = decimals(value) if places is None else places
    return f"{value:{sign}.{places}f}".replace("-", "−")


def plus_minus(mean: float, sd: float) -> str:
    """Spell a mean and its standard deviation, to the second digit of the latter."""
    if not math.isfinite(sd):
        return number(mean)
    places = decimals(sd, 2) if sd else decimals(mean)
    return f"{number(mean, places)} ± {number(sd, places)}"


def interval(
    value: float, low: float, high: float, places: int | None = None, sign: str = ""
) -> str:
    """Spell a value with an interval, all with as many decimals as either needs."""
    if places is None:
        places = max(decimals(high - low, 2), decimals(value))
    middle, *ends = (number(each, places, sign) for each in (value, low, high))
    return f"{middle} [{', '.join(ends)}]"


def setting(value: float) -> str:
    """Spell a learning rate, or another amount, in as few signs as three digits take."""
    return f"{value:.3g}"


def scientific(value: float) -> str:
    """Spell a number of operations."""
    return f"{value:.3g}".replace("e+", "e")


def prefixed(value: float) -> str:
    """Spell seconds beside an axis: thousands as k."""
    return f"{value / 1000:.3g}k" if value >= 1000 else f"{value:.3g}"


def spent(amount: float, resource: str) -> str:
    """Spell what training took, in its unit."""
    if not math.isfinite(amount):
        return "never"
    if resource == "images":
        return f"{amount:,.0f}"
    return f"{number(amount)} s" if resource == "seconds" else scientific(amount)


def chance(p_value: float) -> str:
    """Spell a p."""
    return "< 0.0001" if p_value < 0.0001 else f"{p_value:.4f}"


def listed(names: Sequence[str]) -> str:
    """Spell a list: "a, b and c"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))

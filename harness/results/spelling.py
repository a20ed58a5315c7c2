"""Numbers and settings as people read them, the same in every place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from harness.statistics import Interval

NONE = "–"


def number(value: float | None, *, places: int | None = None, sign: bool = False) -> str:
    """Spell a number with 3 significant digits, or so many decimals."""
    if value is None or not math.isfinite(value):
        return NONE
    if places is None:
        places = decimals(value)
    text = f"{value:{'+' if sign else ''}.{places}f}"
    return text.replace("-", "−")


def operations(count: float) -> str:
    """Spell a large count with 3 significant digits: "1.06e11"."""
    return f"{count:.3g}".replace("e+", "e")


def counted(count: int, noun: str) -> str:
    """Spell how many there are: "1 test", "2 tests"."""
    return f"{count} {noun}{'s' * (count != 1)}"


def joined(names: Sequence[str]) -> str:
    """Spell a list: "a, b and c"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def capital(text: str) -> str:
    """Return a text as the start of a sentence."""
    return text[:1].upper() + text[1:]


def decimals(value: float, significant: int = 3) -> int:
    """Return how many decimals show a number with so many significant digits."""
    if value == 0:
        return 0
    return max(0, significant - 1 - math.floor(math.log10(abs(value))))


def plus_minus(mean: float | None, sd: float | None) -> str:
    """Spell a mean and standard deviation, with decimals up to the latter's second digit."""
    if mean is None or sd is None:
        return number(mean)
    places = decimals(sd, 2) if sd > 0 else decimals(mean)
    return f"{number(mean, places=places)} ± {number(sd, places=places)}"


def with_interval(
    value: float | None,
    interval: Interval | None,
    *,
    places: int | None = None,
    sign: bool = False,
) -> str:
    """Spell a value and its interval with the same number of decimals."""
    if value is None or interval is None:
        return number(value, places=places, sign=sign)
    if places is None:
        width = interval.high - interval.low
        finite = math.isfinite(width) and width > 0
        places = max(decimals(width, 2) if finite else 0, decimals(value))
    low, high = (
        number(end, places=places, sign=sign) if math.isfinite(end) else _infinite(end)
        for end in interval
    )
    return f"{number(value, places=places, sign=sign)} [{low}, {high}]"


def _infinite(end: float) -> str:
    return "−∞" if end < 0 else "∞"


def p_text(p_value: float | None) -> str:
    """Spell a p-value: four decimals, or a bound below them."""
    if p_value is None:
        return NONE
    return "< 0.0001" if p_value < 0.0001 else f"{p_value:.4f}"


def p_phrase(p_value: float | None) -> str:
    """Spell it within a sentence: "p = 0.0079" or "p < 0.0001"."""
    if p_value is None:
        return "no p"
    text = p_text(p_value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def span(counts: Sequence[int]) -> str:
    """Spell how many, where counts may differ: "5" or "3 to 5"."""
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


def commit_text(commit: str) -> str:
    """Cut a commit to twelve digits, and say whether the checkout had other changes."""
    digits, dirty, _ = commit.partition("-dirty")
    return digits[:12] + dirty if len(digits) == 40 else commit


def setting_text(value: object) -> str:
    """Spell a setting with 3 significant digits; texts that are numbers count as numbers."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return str(value).lower()
    try:
        amount = float(str(value))
    except ValueError:
        return str(value)
    return f"{amount:.0f}" if amount.is_integer() and abs(amount) < 1e6 else f"{amount:.3g}"


def assignments(settings: Mapping[str, Any]) -> str:
    """Spell settings as they are: "d_steps = 2, g_lr = 0.0002"."""
    return ", ".join(f"{key} = {value}" for key, value in settings.items())

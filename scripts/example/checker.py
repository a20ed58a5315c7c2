"""Printed numbers against computed ones."""

from __future__ import annotations

import re

NUMBER = re.compile(r"[+−-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")


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

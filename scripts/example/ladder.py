"""FID in words, by the ladder of damages that `docs/rulers.md` prints."""

from __future__ import annotations

from pathlib import Path

from example.facts import Facts
from example.spelling import NONE

PAGE = Path(__file__).parents[2] / "docs" / "rulers.md"
SAMPLES = {"mnist": 10_000, "digits": 400}  # that the ladders hold for
CLOSE = 1.2  # a fifth
REAL = "real images"


def in_words(facts: Facts, fid: float) -> str:
    """Return what an FID is as much as; empty where the ruler has no ladder at this n."""
    rungs = _rungs(facts.param("evaluate.extractor"))
    if not rungs or SAMPLES[facts.param("dataset")] != facts.samples:
        return ""
    ratios = {name: fid / value for name, value in rungs.items()}
    if ratios.pop(REAL) <= CLOSE:
        return f"about {REAL}"
    nearest = min(ratios, key=lambda name: max(ratios[name], 1 / ratios[name]))
    if max(ratios[nearest], 1 / ratios[nearest]) <= CLOSE:
        return f"about {nearest}"
    below = [name for name, ratio in ratios.items() if ratio > 1]
    above = [name for name, ratio in ratios.items() if ratio < 1]
    if below and above:
        return f"between {max(below, key=rungs.get)} and {min(above, key=rungs.get)}"
    return f"worse than {max(below, key=rungs.get)}" if below else f"better than {above[0]}"


def _rungs(ruler: str) -> dict[str, float]:
    """Return damage -> FID on a ruler; empty for one without a ladder."""
    text = PAGE.read_text()
    lines = text[text.index("| damage |") :].partition("\n\n")[0].splitlines()
    header, _, *rows = ([cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines)
    if ruler not in header:
        return {}
    found = {row[0]: row[header.index(ruler)] for row in rows}
    return {name: float(value) for name, value in found.items() if value != NONE}

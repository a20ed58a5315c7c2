"""FID in words, by the ladder of damages that the rulers' folder holds."""

from __future__ import annotations

import json
from pathlib import Path

from example.facts import Facts

LADDERS = Path(__file__).parents[2] / "harness" / "evaluate" / "rulers" / "ladders.json"
CLOSE = 1.2  # a fifth


def in_words(facts: Facts, fid: float) -> str:
    """Return what an FID is as much as; empty where the ruler has no ladder at this n."""
    ladder = json.loads(LADDERS.read_text()).get(facts.param("evaluate.extractor"))
    if ladder is None or ladder["num_samples"] != facts.samples:
        return ""
    if fid <= CLOSE * ladder["real"]:
        return "about real images"
    ratios = {name: fid / value for name, value in ladder["rungs"].items()}
    apart = {name: max(ratio, 1 / ratio) for name, ratio in ratios.items()}
    nearest = min(apart, key=apart.__getitem__)
    if apart[nearest] <= CLOSE:
        return f"about {nearest}"
    below = {apart[name]: name for name, ratio in ratios.items() if ratio > 1}
    above = {apart[name]: name for name, ratio in ratios.items() if ratio < 1}
    if below and above:
        return f"between {below[min(below)]} and {above[min(above)]}"
    return f"worse than {below[min(below)]}" if below else f"better than {above[min(above)]}"

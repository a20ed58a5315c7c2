"""FID in words: which known damage to real images costs as much on the same ruler.

An FID has no unit. What shipped rulers make of named damages is measured once and kept beside them
(`scripts/make_ladders.py`), so that a value can be said as "about one class missing". That says how
much it is, and not what is wrong with the samples.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("rulers") / "ladders.json"
CLOSE = 1.2  # factor within which two FIDs are about the same


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """What a ruler makes of damages.

    Attributes:
        num_samples: n of all these values, real and damaged.
        real: FID of training images.
        rungs: Damage -> FID, ascending; every one is above that of real images.
    """

    num_samples: int
    real: float
    rungs: Mapping[str, float]


@functools.cache
def ladders() -> Mapping[str, Ladder]:
    """Return the ladders of all rulers that have one, by their names."""
    return {name: Ladder(**facts) for name, facts in json.loads(FILE.read_text()).items()}


def in_words(ruler: str, num_samples: int, fid: float) -> str | None:
    """Return what an FID amounts to, e.g. "about a replay of 100 training images".

    FIDs are compared by their ratio: within a fifth they are about the same.

    Args:
        ruler: What it was measured with.
        num_samples: Of how many samples; FID is biased by their number.
        fid: The value.

    Returns:
        The end of a sentence such as "these samples are …"; None where the ruler has no ladder at
        this number of samples, or the value is no number.
    """
    ladder = ladders().get(ruler)
    if ladder is None or ladder.num_samples != num_samples or math.isnan(fid):
        return None
    if fid <= CLOSE * ladder.real:
        return "about real images"
    nearest = min(ladder.rungs, key=lambda name: abs(math.log(ladder.rungs[name]) - math.log(fid)))
    if 1 / CLOSE <= fid / ladder.rungs[nearest] <= CLOSE:
        return f"about {nearest}"
    better = [name for name, value in ladder.rungs.items() if value < fid]
    worse = [name for name, value in ladder.rungs.items() if value > fid]
    if not better:
        return f"better than {worse[0]}"
    if not worse:
        return f"worse than {better[-1]}"
    return f"between {better[-1]} and {worse[0]}"

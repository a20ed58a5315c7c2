"""Make the ladders of shipped rulers: `python scripts/make_ladders.py`.

Reads what `benchmarks/rulers.py` has measured, and writes which damages cost how much FID, in each
ruler's own units, beside the rulers. A damage that a ruler can hardly tell from real images is left
out of its ladder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from harness.evaluate.ladder import CLOSE, FILE

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
MEASURED = ("rulers_2026-11-21.json", "rulers_2026-11-22.json")
SAMPLES = {
    "digits_cnn_v2": 400,
    "digits_judge_v1": 400,
    "mnist_cnn_v2": 10_000,
    "mnist_judge_v1": 10_000,
}
RUNGS = {
    **{f"a replay of {size:,} training images": (f"replay of {size}",)
       for size in (1000, 500, 200, 100, 30)},
    "one class missing": tuple(f"without {label}" for label in range(10)),
    "half of the classes missing": ("without 5 to 9",),
    "noise of 16 grey levels": ("noise, sd 16",),
    "noise of 64 grey levels": ("noise, sd 64",),
    "a blur of one pixel": ("blur, sd 1 px",),
    "a blur of two pixels": ("blur, sd 2 px",),
}  # fmt: skip
"""As words say it -> the sets of images whose mean it is."""

Rows = Mapping[str, Mapping[str, float]]


def ladder(rows: Rows, num_samples: int) -> dict[str, object]:
    """Return a ruler's ladder of what it was measured to make of damaged images."""
    real = rows["training images"]["fid"]
    rungs = {
        words: fmean(rows[name]["fid"] for name in names)
        for words, names in RUNGS.items()
        if all(name in rows for name in names)
    }
    told = {words: value for words, value in rungs.items() if value > CLOSE**2 * real}
    ascending = dict(sorted(told.items(), key=lambda rung: rung[1]))
    return {"num_samples": num_samples, "real": real, "rungs": ascending}


def contents() -> str:
    """Return the file that ships."""
    rows: dict[str, Rows] = {}
    for name in MEASURED:
        rows |= json.loads((RESULTS / name).read_text())["rulers"]
    made = {ruler: ladder(rows[ruler], number) for ruler, number in SAMPLES.items()}
    return json.dumps(made, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(contents())

"""Draw the README's picture from a finished study: `python scripts/readme_picture.py demo best`.

Left: the test FID of every confirm run. Right: the sample grid of the exported generator.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt

from harness.status import read_status
from harness.workspace import Workspace

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito


def main() -> None:
    """Read the study, draw, save."""
    study, export = sys.argv[1], Path(sys.argv[2])
    target = Path(sys.argv[3]) if len(sys.argv) > 3 else Path("docs/images/demo.png")
    summary = read_status(study, Workspace.locate()).summary
    figure, (scores, samples) = plt.subplots(1, 2, figsize=(9, 4.2), width_ratios=(1, 1))
    for index, (arm, colour) in enumerate(zip(summary.arms, COLOURS, strict=False)):
        values = [score for score in arm.scores if score is not None]
        scores.plot([index] * len(values), values, "o", color=colour, alpha=0.7, markersize=8)
    scores.axhline(summary.floor or 0, color="grey", linestyle=":")
    scores.text(-0.4, summary.floor or 0, "real against real", va="bottom", color="grey")
    scores.set_xticks(range(len(summary.arms)), [arm.name for arm in summary.arms])
    scores.set_xlim(-0.5, len(summary.arms) - 0.5)
    scores.set_ylim(bottom=0)
    scores.set_ylabel(f"{summary.metric} (lower is better)")
    comparison = summary.comparisons[0]
    scores.set_title(
        f"P({comparison.arm} < {comparison.baseline}) = {comparison.superiority:.2f}, "
        f"exact p = {comparison.p_value:.3f}"
    )
    scores.spines[["top", "right"]].set_visible(False)
    samples.imshow(plt.imread(export / "samples.png"))
    samples.set_title("samples of the exported generator")
    samples.axis("off")
    figure.tight_layout()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main()

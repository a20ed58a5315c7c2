"""How far translations that are translated back come from where they started.

The loss that gives cycle-consistent translation its name (Zhu et al. 2017, equation 2), on held-out
images and on translations as they are saved, so that nothing is carried over in less than the 8
bits of a pixel.
"""

from __future__ import annotations

from harness.evaluate.metric import Compared, Figure, metric


@metric(
    Figure(
        name="cycle_error",
        label="cycle error",
        description="Mean absolute difference of images and what comes back, pixels in [0, 1]",
        best="lower",
        caveat="is met by translators that change nothing, or that hide the image in its "
        "translation",
    ),
    needs_returned=True,
)
def cycle(compared: Compared) -> dict[str, float]:
    """Mean absolute difference of images and what comes back."""
    assert compared.sources is not None
    assert compared.returned is not None
    differences = (compared.sources.double() - compared.returned.double()).abs()
    return {"cycle_error": float(differences.mean()) / 255}

"""Whether samples lie nearer to training images than to real ones that no training saw.

The share of samples whose nearest neighbour, among equally many training and held-out images, is a
training image: 1/2 for whoever draws from the distribution, as in the two-sample tests of Lopez-Paz
and Oquab 2017 and the data-copying test of Meehan et al. 2020. A copy of one of these training
images counts in full, so a share p of copies raises it by p/2.
"""

from __future__ import annotations

from harness.evaluate.features import check_finite
from harness.evaluate.metric import Compared, Figure, metric
from harness.evaluate.neighbours import nearest


@metric(
    Figure(
        name="memorised",
        label="memorised",
        description="Share of samples nearer to a training image than to any held-out one",
        best=0.5,
        caveat="looks at as many training images as there are samples: of copies of others it "
        "sees nothing",
    ),
    floor="held_out",
    at_end=True,
)
def memorisation(compared: Compared) -> dict[str, float]:
    """Share of samples nearer to training images than to held-out ones."""
    fake = check_finite(compared.fake)
    to_train, _ = nearest(fake, compared.train)
    to_held_out, _ = nearest(fake, compared.real)
    nearer = (to_train < to_held_out).double() + (to_train == to_held_out).double() / 2
    return {"memorised": float(nearer.mean())}

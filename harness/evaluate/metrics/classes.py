"""What the ruler's own head sees: which classes are made, how often, and how clearly."""

from __future__ import annotations

import torch

from harness.evaluate.metric import Compared, Figure, metric

CLEAR = 0.9  # probability of the likeliest class from which an image is no longer ambiguous
PRESENT = 0.1  # of its share of the real images from which a class counts as made


@metric(
    Figure(
        name="class_distance",
        label="class distance",
        description="Total variation between the classes of samples and of real images",
        best="lower",
    ),
    Figure(
        name="class_kl",
        label="class KL",
        description="Divergence of the samples' classes from the real ones', in nats",
        best="lower",
    ),
    Figure(
        name="modes",
        label="modes",
        description=f"Classes made at least {PRESENT:g} times as often as among real images",
        best="higher",
    ),
    Figure(
        name="ambiguous",
        label="ambiguous",
        description=f"Share of samples of no class with probability {CLEAR:g}",
        best="lower",
    ),
    floor="held_out",
    at_end=True,
    needs_classes=True,
)
def classes(compared: Compared) -> dict[str, float]:
    """Class histogram and clearness."""
    assert compared.real_classes is not None
    assert compared.fake_classes is not None
    real, fake = (
        torch.bincount(each.argmax(dim=1), minlength=each.shape[1]).double() / len(each)
        for each in (compared.real_classes, compared.fake_classes)
    )
    made = fake > 0
    # A class that no real image has, as the head sees it, is as rare as one image.
    least = real.clamp(min=1 / len(compared.real_classes))
    return {
        "class_distance": float((real - fake).abs().sum() / 2),
        "class_kl": float((fake[made] * (fake[made] / least[made]).log()).sum()),
        "modes": float(((real > 0) & made & (fake >= PRESENT * real)).sum()),
        "ambiguous": float((compared.fake_classes.max(dim=1).values < CLEAR).double().mean()),
    }

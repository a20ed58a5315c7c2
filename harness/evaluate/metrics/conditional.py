"""Whether samples are what they were asked to be: intra FID and class accuracy.

Miyato and Koyama 2018, "cGANs with Projection Discriminator", section 5: the Fréchet distance
(Heusel et al. 2017, equation 6) between samples asked of a class and real images of that class,
averaged over classes. Each distance rests on the images of one class alone, a tenth of them with
ten classes, and the Fréchet distance is biased upwards the more the fewer they are: intra FID lies
well above FID even for a perfect model, and two of them compare only at the same number of samples
on the same data. Its floor, training images under their own labels, has the same bias.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.evaluate.features import as_exact
from harness.evaluate.metric import Compared, Figure, metric

FEWEST = 2  # images of a class that have a covariance


def class_distances(
    real: Tensor, real_labels: Tensor, fake: Tensor, fake_labels: Tensor
) -> dict[int, float]:
    """Return the Fréchet distance within each class.

    A class with fewer than two real images or fewer than two samples has no covariance on that
    side and is left out.

    Args:
        real: Features (N, d).
        real_labels: Their classes (N,).
        fake: Features (M, d).
        fake_labels: The classes (M,) that they were asked for.

    Raises:
        ValueError: A feature is not finite.
    """
    real, fake = as_exact(real), as_exact(fake)
    counts = (torch.bincount(labels).tolist() for labels in (real_labels, fake_labels))
    return {
        label: _frechet(real[real_labels == label], fake[fake_labels == label])
        for label, numbers in enumerate(zip(*counts, strict=False))
        if min(numbers) >= FEWEST
    }


def _frechet(real: Tensor, fake: Tensor) -> float:
    """Return the Fréchet distance of float64 features, however few there are.

    With centred features A, B, each divided by the root of their number less one,
    tr (Σ_r Σ_f)^½ is the sum of the singular values of A Bᵀ. Those are found in no more dimensions
    than there are images or features, and no root is taken of a singular product's rounding.
    """
    means = [each.mean(dim=0) for each in (real, fake)]
    centred = [
        (each - mean) / (len(each) - 1) ** 0.5
        for each, mean in zip((real, fake), means, strict=True)
    ]
    variances = sum(each.square().sum() for each in centred)
    triangles = [torch.linalg.qr(each, mode="r").R for each in centred]
    shared = torch.linalg.svdvals(triangles[0] @ triangles[1].T).sum()
    return float((means[0] - means[1]).square().sum() + variances - 2 * shared)


@metric(
    Figure(
        name="intra_fid",
        label="intra FID",
        description="FID within each class, mean over classes (Miyato and Koyama 2018)",
        best="lower",
        log=True,
        caveat="rests on the few samples of each class, which bias it upwards: compare it with its "
        "floor",
    ),
    floor="train",
    at_end=True,
    needs_labels=True,
)
def intra_class_distance(compared: Compared) -> dict[str, float]:
    """Frechet distance within classes; none where no class has two images on either side."""
    assert compared.real_labels is not None
    assert compared.fake_labels is not None
    distances = class_distances(
        compared.real, compared.real_labels, compared.fake, compared.fake_labels
    )
    return {"intra_fid": sum(distances.values()) / len(distances)} if distances else {}


@metric(
    Figure(
        name="class_accuracy",
        label="class accuracy",
        description="Share of samples that the ruler puts into the class they were asked for",
        best="higher",
        caveat="is met by one clear image per class, and means little where the ruler was trained "
        "on other classes: compare it with its floor",
    ),
    floor="held_out",
    at_end=True,
    needs_classes=True,
    needs_labels=True,
)
def accuracy(compared: Compared) -> dict[str, float]:
    """Share of samples of the class they were asked for."""
    assert compared.fake_classes is not None
    assert compared.fake_labels is not None
    hits = compared.fake_classes.argmax(dim=1) == compared.fake_labels
    return {"class_accuracy": float(hits.double().mean())}

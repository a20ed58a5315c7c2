"""How long scoring takes, told from few samples."""

from __future__ import annotations

import time

from harness.evaluate.evaluator import Evaluator

FEW = 500  # samples that are scored


def scoring_seconds(evaluator: Evaluator) -> tuple[float, float]:
    """Return about how many seconds it takes to score as many samples as the protocol asks for.

    Features take as long per sample; metrics in between as long for any number of samples, those of
    a run's end as long per pair of samples.

    Returns:
        Of samples on the way, and of a run's last ones, which all metrics are computed of.
    """
    few = evaluator.of_fewer(FEW)
    images = few.real_images("validation", few.num_samples)
    more = evaluator.num_samples / few.num_samples
    few.score(images, "validation")  # features of real images, which are kept, and a warm-up
    seconds = []
    for work in (
        lambda: few.classes_of(images),
        lambda: few.score(images, "validation", final=False),
        lambda: few.score(images, "validation"),
    ):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    features, midway, last = seconds
    on_the_way = more * features + max(0.0, midway - features)
    return on_the_way, on_the_way + more**2 * max(0.0, last - midway)

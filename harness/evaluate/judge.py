"""The second ruler of a dataset: it measures what runs end with, and chooses nothing.

A study's ruler may flatter what it has chosen. The judge is a classifier of another shape, trained
on the training part alone, by which no settings are chosen and no study can rank: where both say
the same, a verdict does not hang on the ruler alone.
"""

from __future__ import annotations

from pathlib import Path

import torch

from harness.data import Dataset
from harness.errors import HarnessError
from harness.evaluate.config import EvaluateConfig
from harness.evaluate.evaluator import Evaluator
from harness.evaluate.metric import is_judge
from harness.evaluate.ruler import JUDGE_RECIPE, own_rulers

JUDGES = {"digits_cnn_v2": "digits_judge_v1", "mnist_cnn_v2": "mnist_judge_v1"}
"""A dataset's default extractor -> the judge that ships beside it."""
MEASURED = ("frechet_distance", "neighbourhoods")
FACTS = ("extractor", "extractor_sha256", "extractor_accuracy")


def judge_of(
    dataset: Dataset,
    config: EvaluateConfig,
    *,
    cache_dir: Path,
    device: torch.device,
    source: Dataset | None = None,
) -> Evaluator | None:
    """Return what scores samples a second time; None of points and of data without labels.

    Args:
        dataset: What samples are compared with.
        config: The study's `[evaluate]` table, of which the number of samples counts.
        cache_dir: Where trained rulers and real features are kept.
        device: Where features are computed.
        source: The other domain, where samples are translations of its images.
    """
    if dataset.kind.extractor is not None or dataset.num_classes < 2:
        return None
    own = {recipe: name for name, recipe in own_rulers(dataset).items()}
    name = JUDGES.get(dataset.extractor or "", own[JUDGE_RECIPE])
    protocol = EvaluateConfig(extractor=name, samples=config.samples)
    return Evaluator(
        dataset, protocol, cache_dir=cache_dir, device=device, source=source, metrics=MEASURED
    )


def facts_of(judge: Evaluator) -> dict[str, str]:
    """Return what runs' records say of a judge."""
    facts = judge.describe()
    return {key.replace("extractor", "judge"): facts[key] for key in FACTS if key in facts}


def check_is_none(config: EvaluateConfig) -> None:
    """Raise HarnessError for a table that names a judge: it would choose."""
    for key in ("extractor", "extractor_back"):
        name = getattr(config, key)
        if name is not None and is_judge(name):
            raise HarnessError(
                f"evaluate.{key} = {name!r}: a second ruler chooses nothing and measures every "
                "confirm run anyway; leave it out, or name another"
            )

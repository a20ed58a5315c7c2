"""How samples are scored: the only code that computes metrics, and the rulers they rest on."""

from harness.evaluate import metrics
from harness.evaluate.config import EvaluateConfig
from harness.evaluate.evaluator import Evaluator
from harness.evaluate.metric import METRICS, Compared, Figure, Metric, metric
from harness.evaluate.subsets import count_samples

__all__ = [
    "METRICS",
    "Compared",
    "EvaluateConfig",
    "Evaluator",
    "Figure",
    "Metric",
    "count_samples",
    "metric",
    "metrics",
]

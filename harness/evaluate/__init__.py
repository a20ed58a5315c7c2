"""How samples are scored: the only code that computes metrics, and the rulers they rest on."""

from harness.evaluate.config import EvaluateConfig
from harness.evaluate.evaluator import Evaluator

__all__ = ["EvaluateConfig", "Evaluator"]

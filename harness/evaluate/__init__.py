"""Scores of samples: the only code in the project that computes FID and KID."""

from harness.evaluate.evaluator import Evaluator

__all__ = ["Evaluator"]

"""Train a recorded run again and compare."""

from harness.results.reproduce.again import reproduce_run
from harness.results.reproduce.comparison import Difference, Reproduction
from harness.results.reproduce.record import rebuild_config

__all__ = ["Difference", "Reproduction", "rebuild_config", "reproduce_run"]

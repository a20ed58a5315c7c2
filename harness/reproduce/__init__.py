"""Train a recorded run again and compare."""

from harness.reproduce.again import reproduce_run
from harness.reproduce.comparison import Difference, Reproduction
from harness.reproduce.record import rebuild_config

__all__ = ["Difference", "Reproduction", "rebuild_config", "reproduce_run"]

"""What sentences and captions say alike: which rank test a study has, and what ties may do."""

from __future__ import annotations

from collections.abc import Sequence

from harness.results.comparison import Comparison
from harness.results.report.records import StudyRecords
from harness.statistics import NUM_SIMULATED, Looks


def looks_of(records: StudyRecords) -> Looks:
    """Return the looks of a study's plan; one where studies were put together."""
    sizes = records.study.confirm.sizes
    return Looks(sizes[-1:] if records.is_joint else sizes)


def rank_test(looks: Looks) -> str:
    """Return the name of the test of two arms."""
    sequential = "group-sequential " * (len(looks.sizes) > 1)
    return f"{sequential}{'exact ' * looks.is_exact}two-sided Mann–Whitney"


def simulated(looks: Looks) -> str:
    """Return what is said after the test's name: nothing of an exact one."""
    return "" if looks.is_exact else f" (null law from {NUM_SIMULATED:,} orders)"


def ties_aside(tests: Sequence[Comparison]) -> str:
    """Return what takes back that intervals exclude 0 of what is resolved, where one does not.

    Shifts break ties: of scores that are equal in both arms, the test may reject a shift of 0 and
    not of the least bit to either side.
    """
    held = [test.difference_interval for test in tests if test.is_resolved]
    return ", ties aside" * any(each is not None and each.low <= 0 <= each.high for each in held)

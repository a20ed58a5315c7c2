"""Comparing arms: pure functions on scores that are costs, the smaller wins.

A run without a score (it diverged or failed) is `inf`. `docs/statistics.md` says what each figure
means and how well it keeps its promise.
"""

from harness.statistics.arms import (
    bootstrap_interval,
    expected_best,
    finite_or_none,
    interquartile_mean,
    interquartile_means,
    mean_and_sd,
    median,
    wilson_interval,
)
from harness.statistics.effects import (
    hedges_g,
    hodges_lehmann,
    is_equivalent,
    shift_interval,
    stratified_interval,
    stratified_shift,
)
from harness.statistics.groups import kruskal_wallis
from harness.statistics.interval import CONFIDENCE, SIGNIFICANCE, Interval
from harness.statistics.looks import FUTILE, NUM_SIMULATED, Looks, SequentialTest
from harness.statistics.power import smallest_holm_p, smallest_shift
from harness.statistics.ranks import (
    RankTest,
    holm,
    holm_least,
    holm_levels,
    mann_whitney,
    sign_test,
    smallest_p,
    superiority_interval,
)
from harness.statistics.stability import more_losses, pooled_sd, spread_ratio
from harness.statistics.strata import (
    StratifiedTest,
    interaction,
    noninferiority,
    stratified_test,
)

__all__ = [
    "CONFIDENCE",
    "FUTILE",
    "NUM_SIMULATED",
    "SIGNIFICANCE",
    "Interval",
    "Looks",
    "RankTest",
    "SequentialTest",
    "StratifiedTest",
    "bootstrap_interval",
    "expected_best",
    "finite_or_none",
    "hedges_g",
    "hodges_lehmann",
    "holm",
    "holm_least",
    "holm_levels",
    "interaction",
    "interquartile_mean",
    "interquartile_means",
    "is_equivalent",
    "kruskal_wallis",
    "mann_whitney",
    "mean_and_sd",
    "median",
    "more_losses",
    "noninferiority",
    "pooled_sd",
    "shift_interval",
    "sign_test",
    "smallest_holm_p",
    "smallest_p",
    "smallest_shift",
    "spread_ratio",
    "stratified_interval",
    "stratified_shift",
    "stratified_test",
    "superiority_interval",
    "wilson_interval",
]

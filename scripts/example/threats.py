"""The threats to validity that the runs show."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from example.facts import SCORED, Facts, largest_over
from example.rank_tests import LEVEL, least_p, sign_test
from example.spelling import chance, number, setting
from example.tables import parameters

LATE = 0.8  # of the training: where its last fifth begins
IMPROVING = -0.05  # of the score, over the last fifth
EDGE = 0.05  # of a range
UNEQUAL = 1.5  # ratio of costs
CONDITIONS = {
    "device": "param.device",
    "precision": "param.precision",
    "thread count": "param.threads",
    "torch version": "version.torch",
    "commit": "mlflow.source.git.commit",
}
COMMIT = 40  # digits
DIRTY = "-dirty"


def threats(facts: Facts) -> Iterator[str]:
    """Yield the threats, in order; those of every such study are in the template."""
    seeds = len(facts.runs(facts.baseline))
    yield (
        f"Few seeds: {seeds} runs in an arm. The smallest p that a comparison could have here is "
        f"{chance(least_p(seeds, seeds))} after Holm's adjustment, and the bootstrap intervals of "
        "interquartile means are too narrow: in simulations, nominal 95 % ones of five runs cover "
        "90 %."
    )
    for arm in facts.arms:
        yield from _budget(facts, arm)
    for arm in facts.arms:
        yield from _range(facts, arm)
    yield from _unequal_losses(facts)
    yield from _unequal_compute(facts)
    yield from _one_search(facts)
    for arm in facts.arms:
        yield from _close_call(facts, arm)
    yield from _mixed_conditions(facts)


def still_improving(facts: Facts, arm: str) -> tuple[float, float, int, float] | None:
    """Return how an arm's validation FID went on to change, if by more than 5 % in its last fifth.

    Returns:
        Median change in per cent, share of the training after which, runs that became better, and
        the sign test's p.
    """
    images, curves = facts.curves(arm)
    start = int(np.argmin(abs(images[:-1] - LATE * images[-1])))
    changes = curves[:, -1] / curves[:, start] - 1
    share = images[start] / images[-1]
    pace = np.median(changes) * math.log(LATE) / math.log(share)
    if pace >= IMPROVING:
        return None
    better = int((changes < 0).sum())
    return 100 * float(np.median(changes)), share, better, sign_test(better, len(changes))


def _budget(facts: Facts, arm: str) -> Iterator[str]:
    found = still_improving(facts, arm)
    if found is None:
        return
    change, share, better, p_value = found
    by = f"by {-change:.0f} % (median) after {100 * share:.0f} % of the training"
    runs = f"{better} of {len(facts.runs(arm))} runs"
    if p_value <= LEVEL:
        yield (
            f"Budget: the validation FID of {arm} was still improving, {by} (better in {runs}, "
            f"one-sided sign test p = {chance(p_value)}); a longer budget may change the order of "
            "the arms."
        )
    else:
        yield (
            f"Budget: whether the validation FID of {arm} was still improving cannot be told: it "
            f"became better {by}, in {runs} (one-sided sign test p = {chance(p_value)})."
        )


def ends_of_tried(facts: Facts, arm: str) -> dict[str, str]:
    """Return tuned parameters whose confirmed value no trial went beyond, and which end it is."""
    found = {}
    for key in facts.study["space"]:
        tried, confirmed = facts.settings(arm, key), facts.settings(arm, key, "confirm")[0]
        if confirmed in (tried.min(), tried.max()):
            found[key] = "largest" if confirmed == tried.max() else "smallest"
    return found


def _range(facts: Facts, arm: str) -> Iterator[str]:
    for key, space in facts.study["space"].items():
        tried, value = facts.settings(arm, key), facts.settings(arm, key, "confirm")[0]
        low, high = space["low"], space["high"]
        place = math.log(value / low) / math.log(high / low)
        found = []
        if min(place, 1 - place) < EDGE:
            side = "lower" if place < EDGE else "upper"
            found.append(f"lies at the {side} edge of [{low:g}, {high:g}]")
        if side := ends_of_tried(facts, arm).get(key):
            by_chance = 100 * np.isin(tried, (tried.min(), tried.max())).mean()
            found.append(
                f"is the {side} of {len(set(tried))} tried (where a parameter has no effect, the "
                f"best trial is at either end in {by_chance:.0f} % of searches)"
            )
        if found:
            yield (
                f"Range: {arm}'s confirmed {key} = {setting(value)} {' and '.join(found)}; better "
                "settings may lie beyond."
            )


def _unequal_losses(facts: Facts) -> Iterator[str]:
    lost = {
        arm: sum(row["outcome"] not in SCORED for row in facts.runs(arm, "search"))
        for arm in facts.arms
    }
    if len(set(lost.values())) > 1:
        listed = ", ".join(f"{arm} {count}" for arm, count in lost.items())
        yield (
            f"Unequal losses in the search (trials without a score: {listed}): arms chose among "
            "unequal numbers of scored settings."
        )


def _unequal_compute(facts: Facts) -> Iterator[str]:
    sizes = {arm: float(sum(parameters(facts, arm).values())) for arm in facts.arms}
    costs = {"seconds of training per run": seconds(facts), "trainable parameters": sizes}
    for what, each in costs.items():
        if found := largest_over(each, UNEQUAL):
            most, least, ratio = found
            yield (
                f"Unequal compute: {most} takes {ratio:.1f} times the {what} of {least}; the "
                f"budget was {facts.study['budget']['images']:,} real images."
            )


def seconds(facts: Facts) -> dict[str, float]:
    """Return every arm's mean seconds of training per confirm run."""
    return {arm: facts.values(arm, "progress/train_seconds").mean() for arm in facts.arms}


def _one_search(facts: Facts) -> Iterator[str]:
    search = facts.study["search"]
    yield (
        f"One search: settings were chosen among {search['trials_per_arm']} trials per arm, each "
        f"of 1 training seed at {100 * search['budget_share']:.0f} % of the full budget. Another "
        "search could have chosen others; the intervals do not include this."
    )


def _close_call(facts: Facts, arm: str) -> Iterator[str]:
    best = np.sort(facts.values(arm, facts.validation, "search"))
    sd = facts.values(arm, facts.validation).std(ddof=1)
    if best[1] - best[0] < sd:
        yield (
            f"Close call in {arm}'s search: the two best trials differ by "
            f"{number(best[1] - best[0])} in validation FID, less than the spread of its confirm "
            f"runs over seeds ({number(sd)})."
        )


def _mixed_conditions(facts: Facts) -> Iterator[str]:
    for what, column in CONDITIONS.items():
        found = sorted({short(row[column]) for row in facts.rows if row[column]})
        if len(found) > 1:
            yield f"Mixed conditions: the runs differ in {what} ({', '.join(found)})."
    if any(row[CONDITIONS["commit"]].endswith(DIRTY) for row in facts.rows):
        yield "Some runs were trained from a checkout with uncommitted changes."


def short(value: str) -> str:
    """Cut a commit to twelve digits, and say still that files had been changed since."""
    commit = value.removesuffix(DIRTY)
    return value.replace(commit, commit[:12]) if len(commit) == COMMIT else value

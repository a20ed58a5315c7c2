"""The example's answer, and what the pictures' descriptions say."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from example import axes, views
from example.facts import Facts, mean_sd
from example.rank_tests import LEVEL, least_p, newcombe, shifts, two_sided, wins
from example.spelling import chance, interval, number, plus_minus, prefixed, setting
from example.threats import ends_of_tried, seconds, still_improving

FEWEST_FOR_IMPORTANCE = 20
SAME_INPUTS = ("system", "latent_dim", "prior", "truncation", "conditioning")


def answer(facts: Facts) -> str:
    """Return the whole answer."""
    a, b = map(facts.scores, facts.pair)
    share, p_value = wins(a, b), two_sided(a, b)
    low, high = newcombe(share, len(a), len(b))
    parts = [
        f"{verdict(facts)}: test FID {plus_minus(*mean_sd(a))} against {plus_minus(*mean_sd(b))}, "
        f"median difference {difference(facts)}; P({' < '.join(facts.pair)}) = {share:.2f} "
        f"[{low:.2f}, {high:.2f}, unadjusted], exact Mann-Whitney p = {chance(p_value)} (least "
        f"attainable {chance(least_p(len(a), len(b)))}).",
        *axes.sentences(facts),
        *views.sentences(facts),
    ]
    if p_value > LEVEL:
        parts.append(
            "Not resolved means that these runs are compatible with no difference; it does not "
            "mean that there is none."
        )
    trials = facts.study["search"]["trials_per_arm"]
    parts.append(
        f"The answer holds for the settings that a search of {trials} trials per arm chose on "
        "validation data, for this budget and this data set."
    )
    return " ".join(parts)


def verdict(facts: Facts) -> str:
    """Return what came of the comparison."""
    a, b = map(facts.scores, facts.pair)
    if two_sided(a, b) > LEVEL:
        sizes = f"{len(a)} and {len(b)}"
        return f"{' against '.join(facts.pair)} is not resolved with {sizes} runs"
    if found := axes.objections(facts):
        better, other = axes.better_first(facts)
        return (
            f"{better} has the better FID than {other}, which is resolved, but is not said to "
            f"beat it: {'; '.join(found)}"
        )
    return f"{facts.other} {'beats' if wins(a, b) > 0.5 else 'loses to'} {facts.baseline}"


def yes(facts: Facts) -> str:
    """Return the answer in a word or a few."""
    found = verdict(facts)
    if "is not said to beat" in found:
        return "On FID alone" if axes.better_first(facts) == facts.pair else "No"
    return "Not resolved" if "not resolved" in found else "Yes" if "beats" in found else "No"


def difference(facts: Facts) -> str:
    """Return the Hodges-Lehmann difference with its interval."""
    a, b = map(facts.scores, facts.pair)
    return interval(float(np.median(a[:, None] - b)), *shifts(a, b), sign="+")


def notices(facts: Facts) -> str:
    """Return what a reader must know first; every run has a score here."""
    found = []
    for arm in facts.arms:
        runs = facts.runs(arm)
        if count := sum(row["outcome"] == "collapsed" for row in runs):
            found.append(f"> **Note.** {count} of {len(runs)} confirm runs of {arm} collapsed.")
    return "\n\n".join(found)


def so_far(facts: Facts) -> str:
    """Return the README's sentence on what limits the answer."""
    found = {arm: still_improving(facts, arm) for arm in facts.arms}
    improving = [arm for arm in facts.arms if found[arm] and found[arm][-1] <= LEVEL]
    parts = [f"the {arm} arm was still improving" for arm in improving]
    if len(improving) == len(facts.arms):
        parts = ["both arms were still improving"]
    for arm in facts.arms:
        ends = ends_of_tried(facts, arm)
        if len(ends) == len(facts.study["space"]) and len(set(ends.values())) == 1:
            side = next(iter(ends.values()))
            parts.append(f"{arm}'s confirmed rates are the {side} that its trials tried")
    taken = seconds(facts)
    most = max(taken, key=taken.__getitem__)
    ratio = taken[most] / min(taken.values())
    parts.append(f"{'and ' * bool(parts)}a {most} run takes {ratio:.1f} times as long")
    text = ", ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def pictures(facts: Facts) -> dict[str, str]:
    """Return what the slots of pictures say, arm by arm."""
    arms = facts.arms
    return {
        "arms": "; ".join(arms),
        "score_alt": "; ".join(_scores(facts, arm) for arm in arms),
        "difference_alt": f"{facts.other} {difference(facts)}",
        "curve_alt": "; ".join(_first_and_last(facts, arm) for arm in arms),
        "cost_alt": "; ".join(_last_and_seconds(facts, arm) for arm in arms),
        "median_runs": "; ".join(_median_run(facts, arm) for arm in arms),
        "rates_alt": "; ".join(_confirmed(facts, arm) for arm in arms),
        "search_alt": "; ".join(_search(facts, arm) for arm in arms),
        "nothing_else": _nothing_else(facts),
        "withheld": _withheld(facts),
    }


def _scores(facts: Facts, arm: str) -> str:
    scores = facts.scores(arm)
    ends = f"{number(scores.min())} to {number(scores.max())}"
    return f"{arm}: {ends} over {len(scores)} runs"


def _first_and_last(facts: Facts, arm: str) -> str:
    middle = np.median(facts.curves(arm)[1], axis=0)
    return f"{arm}: {number(middle[0])} to {number(middle[-1])}"


def _last_and_seconds(facts: Facts, arm: str) -> str:
    last = np.median(facts.curves(arm)[1][:, -1])
    taken = facts.spending(arm, "seconds")[-1]
    return f"{arm} {number(last)} after a median of {prefixed(taken)}"


def _median_run(facts: Facts, arm: str) -> str:
    order = np.argsort(facts.scores(arm))
    return f"{arm}, seed {facts.runs(arm)[order[len(order) // 2]]['seed']}"


def _confirmed(facts: Facts, arm: str) -> str:
    """Return the settings that were confirmed, which must be those of the best trial."""
    found = facts.values(arm, facts.validation, "search")
    best = facts.runs(arm, "search")[int(found.argmin())]
    chosen = facts.runs(arm)[0]
    keys = facts.study["space"]
    if any(best[f"param.{key}"] != chosen[f"param.{key}"] for key in keys):
        raise SystemExit(f"{arm}: the best trial was not confirmed")
    rates = (f"{key} = {setting(float(chosen[f'param.{key}']))}" for key in keys)
    return f"{arm}: {', '.join(rates)}, {number(found.min())}"


def _search(facts: Facts, arm: str) -> str:
    """Return the first and last expected best of n trials, where no draw is without a score."""
    best = list(_expected_best(facts.values(arm, facts.validation, "search")))
    first = next(place for place, value in enumerate(best) if np.isfinite(value))
    shown = f"{arm}: {number(best[first])} after {first + 1}"
    return f"{shown}, {number(best[-1])} after {len(best)}"


def _expected_best(values: np.ndarray) -> Iterator[float]:
    """Yield the mean best of trial 0 and n - 1 others, over all ways to draw them, n = 1 …"""
    first, others = values[0], values[1:]
    for count in range(len(values)):
        drawn = itertools.combinations(others, count)
        yield float(np.mean([min([first, *each]) for each in drawn]))


def _nothing_else(facts: Facts) -> str:
    keys = [key for key in SAME_INPUTS if f"param.{key}" in facts.rows[0]]
    confirmed = [row for arm in facts.arms for row in facts.runs(arm)]
    if len({tuple(row[f"param.{key}"] for key in keys) for row in confirmed}) > 1:
        return "Nothing else was selected."
    return "The 64 inputs are the same in all pictures; nothing else was selected."


def _withheld(facts: Facts) -> str:
    """Return why there is no importance of parameters."""
    counts = {
        arm: int(np.isfinite(facts.values(arm, facts.validation, "search")).sum())
        for arm in facts.arms
    }
    if max(counts.values()) >= FEWEST_FOR_IMPORTANCE:
        raise SystemExit("the check knows searches that are too short for importances")
    few = ", ".join(f"{arm} has {count}" for arm, count in counts.items())
    return (
        f"The importance of parameters takes {FEWEST_FOR_IMPORTANCE} scored trials of an arm and "
        f"is withheld: {few}."
    )

"""What came of comparisons, in sentences whose strength is that of the evidence."""

from __future__ import annotations

from collections.abc import Sequence

from harness.evaluate.metric import Figure
from harness.results.arms import ArmSummary, describe
from harness.results.axes import Axis
from harness.results.comparison import Comparison
from harness.results.factors import MarginalEffect
from harness.results.spelling import p_phrase, p_text, with_interval
from harness.statistics import FUTILE, NUM_SIMULATED, Interval

MOST_SPELT_OUT = 2
"""Verdicts without objection that are spelt out one by one; more are counted."""


def comparison_sentence(
    test: Comparison, arm: ArmSummary, baseline: ArmSummary, figure: Figure, num_tests: int
) -> str:
    """Return what came of a comparison, with all its numbers, each of the runs compared.

    Args:
        test: The comparison.
        arm: The arm.
        baseline: What it is compared with.
        figure: What they are ranked by.
        num_tests: How many comparisons Holm's adjustment is over.
    """
    text = f"{verdict(test, figure)}: test {figure.label} {means(test, arm, baseline)}"
    if test.difference is not None:
        difference = with_interval(test.difference, test.difference_interval, sign=True)
        text += f", median difference {difference}"
    return (
        f"{text}; P({arm.name} {figure.beats} {baseline.name}) = "
        f"{test.superiority:.2f}{_unadjusted(test.interval)}{_p(test, num_tests)}"
    )


def means(test: Comparison, arm: ArmSummary, baseline: ArmSummary) -> str:
    """Return both arms' means over the runs compared, and which these are if there are more."""
    counts = test.num_runs
    one, other = (describe(each, n) for each, n in zip((arm, baseline), counts, strict=True))
    return f"{one} against {other}{first_seeds(test, arm, baseline)}"


def first_seeds(test: Comparison, arm: ArmSummary, baseline: ArmSummary) -> str:
    """Return " over the first 5 seeds" where an arm has more runs than are compared, else ""."""
    counts = test.num_runs
    if (len(arm.scores), len(baseline.scores)) == counts:
        return ""
    return f" over the first {' and '.join(map(str, dict.fromkeys(counts)))} seeds"


def verdict(test: Comparison, figure: Figure) -> str:
    """Return what came of a comparison, in as many words as it needs."""
    arm, baseline = test.arm, test.baseline
    sizes = " and ".join(map(str, test.num_runs))
    if test.due is not None:
        return (
            f"{arm} against {baseline} is not tested before {test.due} seeds of either, "
            f"of which {sizes} have ended"
        )
    if test.withheld:
        return f"{arm} against {baseline} has no p, since {test.withheld}"
    if test.is_resolved:
        text = _objected(test, figure) or f"{arm} {'beats' if test.wins else 'loses to'} {baseline}"
        if test.equivalent:
            text += f", by less than the smallest effect that matters ({test.smallest_effect:g})"
        return text
    text = f"{arm} against {baseline} is not resolved with {sizes} runs"
    if test.is_separated:
        text += ", although one won every pair: fewer runs than it takes"
    if test.equivalent is not None:
        within = f"the same within ±{test.smallest_effect:g}"
        text += f", and they are {within}" if test.equivalent else f", nor shown to be {within}"
    if test.futile:
        text += f"; {futility(test)}"
    return text


def futility(test: Comparison) -> str:
    """Return what becomes of a comparison that is futile."""
    text = "further runs of the plan would hardly resolve it (conditional power below "
    text += f"{100 * FUTILE:.0f} %)"
    if len(test.going_on) > 1:
        return f"{text} (futility), though both arms go on for other comparisons"
    goes_on = f", while {test.going_on[0]} goes on for another comparison" if test.going_on else ""
    return f"{text}, and it was stopped (futility){goes_on}"


def _objected(test: Comparison | MarginalEffect, figure: Figure) -> str:
    """Return why the better side is not said to beat the other; empty if nothing objects."""
    if not test.axes or not test.axes.objections:
        return ""
    better, other = test.better
    return (
        f"{better} has the better {figure.label} than {other}, which is resolved, but is not "
        f"said to beat it: {'; '.join(test.axes.objections)}"
    )


def effect_sentence(
    effect: MarginalEffect, figure: Figure, num_tests: int, withheld: str = ""
) -> str:
    """Return what came of a factor's level.

    Args:
        effect: The marginal effect.
        figure: What arms are ranked by.
        num_tests: How many effects Holm's adjustment is over.
        withheld: Why no p is to be believed; empty where it may.
    """
    step = f"{effect.factor} = {effect.level}"
    lost = f" (no runs of {', '.join(effect.without_runs)})" * bool(effect.without_runs)
    if effect.superiority is None:
        return (
            f"{step} against {effect.reference} has no p: none of {effect.all_strata} strata has "
            f"runs on both sides{lost}; of the {num_tests} tests of Holm's adjustment it is one"
        )
    strata = f"over {effect.num_strata} of {effect.all_strata} strata{lost}"
    against = f"{effect.reference} {strata}"
    if effect.p_holm is None or effect.p_value is None:
        why = withheld or "it is not tested before the study is complete"
        text = f"{step} against {against} has no p: {why}"
    elif not effect.is_resolved:
        text = f"{step} against {against} is not resolved"
    elif objected := _objected(effect, figure):
        text = f"{objected}; {strata}"
    else:
        text = f"{step} {'beats' if effect.wins else 'loses to'} {against}"
    text += f": mean P({effect.level} {figure.beats} {effect.reference}) = "
    text += f"{effect.superiority:.2f}"
    if effect.difference is not None:
        difference = with_interval(effect.difference, effect.difference_interval, sign=True)
        text += f", median difference {difference}"
    if effect.p_value is None:
        return text
    return (
        f"{text}, exact stratified {p_phrase(effect.p_value)}, {p_text(effect.p_holm)} after "
        f"Holm over {num_tests} (least attainable {p_text(effect.smallest_p)})"
    )


def on_axes(tests: Sequence[Comparison | MarginalEffect]) -> list[str]:
    """Return on which axes what is resolved holds, on which it does not, and what is missing."""
    found, agreeing = [], []
    asked = [test for test in tests if test.is_resolved and test.axes]
    for test in asked:
        assert test.axes is not None
        better, other = test.better
        if test.axes.contradictions:
            found.append(
                f"The axes disagree on {better} against {other}: the latter is ahead on "
                f"{_listed(test.axes.contradictions, swapped=not test.wins)}."
            )
        if against := test.axes.stability.against:
            found.append(f"Stability speaks against {better} beside {other}: {'; '.join(against)}.")
        if test.is_beaten and not test.axes.contradictions and not against:
            agreeing.append(test)
    if len(agreeing) > MOST_SPELT_OUT:
        axes = [test.axes.found for test in agreeing if test.axes]
        names = dict.fromkeys([*(axis.name for each in axes for axis in each), "stability"])
        found.append(
            f"{len(agreeing)} of {len(asked)} verdicts meet no objection from other axes: "
            f"{', '.join(names)}."
        )
    else:
        found += [_agreement(test) for test in agreeing]
    return [*found, *_other_figures(asked), *_missing(tests)]


def _other_figures(tests: Sequence[Comparison | MarginalEffect]) -> list[str]:
    """Return which figures of no axis speak for the arm with the worse score."""
    found = []
    for test in tests:
        if test.axes and test.axes.others:
            better, other = test.better
            said = ", ".join(axis.spell(swapped=not test.wins) for axis in test.axes.others)
            beside = f"beside {better} " * (len(tests) > 1)
            found.append(f"Other figures {beside}speak for {other}: {said}.")
    return found


def _agreement(test: Comparison | MarginalEffect) -> str:
    assert test.axes is not None
    better, other = test.better
    said = [_listed(test.axes.found, swapped=not test.wins)] if test.axes.found else []
    said.append(f"stability ({test.axes.stability.spell()})")
    return f"Nor do other axes object to {better} against {other}: {', '.join(said)}."


def _missing(tests: Sequence[Comparison | MarginalEffect]) -> list[str]:
    """Return of which axes runs have no record, so that no verdict could ask them."""
    known = [test for test in tests if test.axes]
    by_axes: dict[tuple[str, ...], list[str]] = {}
    for test in known:
        if test.axes and test.axes.missing:
            by_axes.setdefault(test.axes.missing, []).append(" against ".join(test.better))
    return [
        f"Not on record of all runs, and so not asked{_of(names, len(known))}: {', '.join(axes)}."
        for axes, names in by_axes.items()
    ]


def _of(names: Sequence[str], total: int) -> str:
    return "" if len(names) == total else f" of {'; '.join(names)}"


def _listed(axes: Sequence[Axis], *, swapped: bool) -> str:
    return ", ".join(f"{axis.name} ({axis.spell(swapped=swapped)})" for axis in axes)


def _p(test: Comparison, num_tests: int) -> str:
    if test.p_value is None or test.p_holm is None:
        return ""
    adjusted = ""
    if num_tests > 1:
        adjusted = f", {p_text(test.p_holm)} after Holm over {num_tests}"
    name, place = "exact", ""
    if test.most_runs is not None:
        name = "exact sequential" if test.is_exact else "sequential"
        place = f" at {test.num_runs[0]} of at most {test.most_runs} seeds"
        if not test.is_exact:
            place += f" (null law from {NUM_SIMULATED:,} orders)"
    return (
        f", {name} Mann-Whitney {p_phrase(test.p_value)}{place}{adjusted} (least "
        f"attainable {p_text(test.smallest_p)})"
    )


def _unadjusted(interval: Interval | None) -> str:
    """Return Newcombe's interval, which no test or look has made wider, and say so."""
    return "" if interval is None else f" [{interval.low:.2f}, {interval.high:.2f}, unadjusted]"

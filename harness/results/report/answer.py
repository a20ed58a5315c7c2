"""What a reader must know first, and the answer, as strong as the study's evidence."""

from __future__ import annotations

from collections.abc import Sequence

from harness.results.axes import Axis
from harness.results.comparison import Comparison
from harness.results.report.analysis import Analysis
from harness.results.report.records import SCORED
from harness.results.report.view_tables import turned
from harness.results.report.views import View
from harness.results.spelling import p_phrase, p_text, span, with_interval
from harness.results.summary import StudySummary, describe

MOST_SPELT_OUT = 2


def notices(analysis: Analysis) -> list[str]:
    """Return what a reader must know first: what is missing, and what went wrong."""
    found = []
    summary = analysis.summary
    if not summary.complete:
        search = [record for arm in analysis.arms for record in arm.state.search]
        confirm = [record for arm in analysis.arms for record in arm.state.confirm]
        seeds = analysis.records.study.confirm.seeds
        expected = sum(
            len(arm.state.confirm) if arm.state.search_done else seeds for arm in analysis.arms
        )
        found.append(
            f"This study is not complete: {sum(r.is_done for r in search)} of {len(search)} search "
            f"trials and {sum(r.is_done for r in confirm)} of {expected} confirm runs have ended. "
            "All figures are those so far."
        )
    rank = "the median counts them as worst" if summary.unranked else "they rank worst in all tests"
    for arm in analysis.arms:
        lost = len(arm.confirm) - len(arm.scored)
        if lost:
            kinds = sorted({run.outcome for run in arm.confirm} - set(SCORED))
            found.append(
                f"{lost} of {len(arm.confirm)} confirm runs of {arm.name} have no score "
                f"({', '.join(kinds)}); {rank}."
            )
        if arm.share("collapsed").count:
            share = arm.share("collapsed")
            found.append(f"{share.count} of {share.total} confirm runs of {arm.name} collapsed.")
        if arm.state.search_done and arm.state.best is None:
            found.append(f"No setting of {arm.name} survived the search: nothing was confirmed.")
    return found


def answer(analysis: Analysis, views: Sequence[View] = ()) -> str:
    """Return the answer, one paragraph, with what other views of it turn round."""
    summary = analysis.summary
    few = len(summary.comparisons) <= MOST_SPELT_OUT
    sentences = [_sentence(text) for text in summary.answer()] if few else [_verdicts(summary)]
    sentences += _on_axes(summary)
    sentences += _together(analysis)
    sentences += turned(analysis, views)
    sentences += _unresolved(summary)
    if summary.is_search:
        sentences.append(
            "This holds for the space that was searched, for this budget and this data set; "
            "another search could have chosen other settings."
        )
    if not summary.comparisons and not summary.primary:
        return " ".join(sentences)
    counts = [len(arm.state.search) for arm in analysis.arms]
    settings = (
        f"the settings that a search of {span(counts)} trials per arm chose on validation data"
        if any(counts)
        else "the given settings, which nobody tuned"
    )
    sentences.append(f"The answer holds for {settings}, for this budget and this data set.")
    return " ".join(sentences)


def _on_axes(summary: StudySummary) -> list[str]:
    """Return on which axes resolved comparisons hold, and on which they do not."""
    asked = [test for test in summary.comparisons if test.is_beaten and test.axes]
    found, agreeing = [], []
    for test in asked:
        assert test.axes is not None
        better, other = (test.arm, test.baseline) if test.wins else (test.baseline, test.arm)
        holding = [axis for axis in test.axes.found if axis not in test.axes.contradictions]
        if test.axes.contradictions:
            found.append(
                f"The axes disagree on {better} against {other}: the latter is ahead on "
                f"{_listed(test.axes.contradictions, swapped=not test.wins)}."
            )
        elif holding:
            agreeing.append((better, other, holding, test.wins))
    if len(agreeing) > MOST_SPELT_OUT:
        names = ", ".join(dict.fromkeys(axis.name for _, _, axes, _ in agreeing for axis in axes))
        found.append(
            f"{len(agreeing)} of {len(asked)} verdicts meet no objection from other axes: {names}."
        )
        return found
    return found + [
        f"Nor do other axes object to {better} against {other}: "
        f"{_listed(holding, swapped=not wins)}."
        for better, other, holding, wins in agreeing
    ]


def _together(analysis: Analysis) -> list[str]:
    """Return how much the steps of a contrast depend on each other."""
    asked = {text.split()[0] for text in analysis.records.study.contrasts}
    return [
        f"Together, {each.first} and {each.second} change the mean {analysis.figure.label} by "
        f"{with_interval(each.contrast, each.interval, sign=True)} more than the sum of both alone "
        "(95 % interval, unadjusted)."
        for each in analysis.interactions
        if {each.first.split()[0], each.second.split()[0]} & asked
    ]


def _listed(axes: Sequence[Axis], *, swapped: bool) -> str:
    return ", ".join(f"{axis.name} ({axis.spell(swapped=swapped)})" for axis in axes)


def _unresolved(summary: StudySummary) -> list[str]:
    """Return what "not resolved" means here; never that arms are alike which are fully apart."""
    tested = [test for test in summary.comparisons if test.p_value is not None]
    left = [test for test in tested if not test.is_resolved]
    found = []
    if any(not test.is_separated for test in left):
        found.append(
            "Not resolved means that these runs are compatible with no difference; it does not "
            "mean that there is none."
        )
    if apart := [test for test in left if test.is_separated]:
        names = "; ".join(f"{test.arm} against {test.baseline}" for test in apart)
        found.append(
            f"Fully apart, and yet not resolved for want of runs: {names}. The least p that these "
            f"numbers of runs can attain is {p_text(max(test.smallest_p for test in apart))} after "
            "Holm's adjustment."
        )
    return found


def _verdicts(summary: StudySummary) -> str:
    """Return all comparisons in one sentence, grouped by what came of them."""
    baseline = summary.arm(summary.comparisons[0].baseline)
    runs = len(baseline.scores)
    against = [test for test in summary.comparisons if not test.contrast]
    lost = "".join(f" {_sentence(text)}" for text in summary.lost_arms())
    so_far = "Against" if summary.complete else "So far, against"
    text = (
        f"{so_far} the baseline {baseline.name} (test {summary.figure.label} {describe(baseline)}, "
        f"{runs} runs), with p after Holm's adjustment over {summary.num_tests} exact Mann–Whitney "
        f"tests: {_grouped(summary, against)}.{lost}"
    )
    for contrast in dict.fromkeys(test.contrast for test in summary.comparisons if test.contrast):
        tests = [test for test in summary.comparisons if test.contrast == contrast]
        text += f" {contrast}: {_grouped(summary, tests)}."
    return text


def _grouped(summary: StudySummary, tests: Sequence[Comparison]) -> str:
    """Return comparisons by what came of them."""
    groups: dict[str, list[str]] = {}
    for test in tests:
        arm = summary.arm(test.arm)
        against = f" against {test.baseline}" if test.contrast else ""
        groups.setdefault(_group(test), []).append(
            f"{arm.name}{against} ({describe(arm)}; P = {test.superiority:.2f}, "
            f"{p_phrase(test.p_holm)})"
        )
    order = sorted(groups, key=GROUPS.index)
    return "; ".join(f"{name}: {', '.join(groups[name])}" for name in order)


GROUPS = (
    "better",
    "better on the score alone",
    "worse",
    "worse on the score alone",
    "not resolved",
    "equivalent",
    "p withheld",
    "not tested yet",
)


def _group(test: Comparison) -> str:
    if test.due is not None:
        return "not tested yet"
    if test.withheld:
        return "p withheld"
    if test.is_beaten:
        return "better" if test.wins else "worse"
    if test.is_resolved:
        return f"{'better' if test.wins else 'worse'} on the score alone"
    return "equivalent" if test.equivalent else "not resolved"


def _sentence(text: str) -> str:
    return text if text.endswith(".") else text + "."

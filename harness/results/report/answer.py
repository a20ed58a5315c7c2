"""What a reader must know first, and the answer, as strong as the study's evidence."""

from __future__ import annotations

from collections.abc import Sequence

from harness.results.axes import Axis
from harness.results.comparison import Comparison
from harness.results.report.analysis import Analysis
from harness.results.report.records import SCORED
from harness.results.report.view_tables import turned
from harness.results.report.views import View
from harness.results.spelling import p_phrase, p_text, span
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
    sentences += turned(analysis, views)
    sentences += _unresolved(summary)
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
    """Return on which axes a resolved comparison holds, and on which it does not."""
    found = []
    for test in summary.comparisons:
        if not test.is_beaten or test.axes is None or not test.axes.found:
            continue
        better, other = (test.arm, test.baseline) if test.wins else (test.baseline, test.arm)
        holding = [axis for axis in test.axes.found if axis not in test.axes.contradictions]
        text = f"{better} is no worse than {other} on {_listed(holding)}" if holding else ""
        if test.axes.contradictions:
            against = f"{other} is ahead on {_listed(test.axes.contradictions)}"
            text = f"The axes disagree: {text}, but {against}" if text else against
        found.append(f"{text} ({test.arm} against {test.baseline}).")
    return found


def _listed(axes: Sequence[Axis]) -> str:
    return ", ".join(f"{axis.name} ({axis.spell()})" for axis in axes)


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

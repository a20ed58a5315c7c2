"""What a reader must know first, and the answer, as strong as the study's evidence."""

from __future__ import annotations

from collections.abc import Sequence

from harness.results.report.analysis import Analysis
from harness.results.report.records import SCORED
from harness.results.report.view_tables import turned
from harness.results.report.views import View
from harness.results.spelling import p_phrase, span
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
    sentences += turned(analysis, views)
    if not all(test.is_resolved for test in summary.comparisons):
        sentences.append(
            "Not resolved means that these runs are compatible with no difference; it does not "
            "mean that there is none."
        )
    if not summary.comparisons:
        return " ".join(sentences)
    counts = [len(arm.state.search) for arm in analysis.arms]
    settings = (
        f"the settings that a search of {span(counts)} trials per arm chose on validation data"
        if any(counts)
        else "the given settings, which nobody tuned"
    )
    sentences.append(f"The answer holds for {settings}, for this budget and this data set.")
    return " ".join(sentences)


def _verdicts(summary: StudySummary) -> str:
    """Return all comparisons in one sentence, grouped by what came of them."""
    groups: dict[str, list[str]] = {"better": [], "worse": [], "not resolved": []}
    for test in summary.comparisons:
        verdict = "better" if test.superiority > 0.5 else "worse"
        arm = summary.arm(test.arm)
        groups[verdict if test.is_resolved else "not resolved"].append(
            f"{arm.name} ({describe(arm)}; P = {test.superiority:.2f}, {p_phrase(test.p_holm)})"
        )
    baseline = summary.arm(summary.comparisons[0].baseline)
    runs = len(baseline.scores)
    listed = "; ".join(f"{name}: {', '.join(arms)}" for name, arms in groups.items() if arms)
    lost = "".join(f" {_sentence(text)}" for text in summary.lost_arms())
    return (
        f"{'Against' if summary.complete else 'So far, against'} the baseline"
        f" {baseline.name} (test {summary.figure.label} {describe(baseline)}, {runs} runs), with p "
        f"after Holm's adjustment over {len(summary.comparisons)} exact Mann–Whitney tests: "
        f"{listed}.{lost}"
    )


def _sentence(text: str) -> str:
    return text if text.endswith(".") else text + "."

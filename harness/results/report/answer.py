"""What a reader must know first, and the answer, as strong as the study's evidence."""

from __future__ import annotations

from collections.abc import Sequence

from harness.results.arms import describe
from harness.results.comparison import Comparison
from harness.results.report.analysis import Analysis
from harness.results.report.captions import looks_of, simulated
from harness.results.report.records import SCORED
from harness.results.report.view_tables import turned
from harness.results.report.views import View
from harness.results.spelling import p_phrase, p_text, span, with_interval
from harness.results.summary import StudySummary
from harness.results.verdicts import MOST_SPELT_OUT, first_seeds, futility, means


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
    sentences = [_sentence(text) for text in summary.answer()] if few else [_verdicts(analysis)]
    sentences += summary.on_axes()
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


def _together(analysis: Analysis) -> list[str]:
    """Return how much the steps of a contrast depend on each other."""
    asked = {text.split()[0] for text in analysis.records.study.contrasts}
    return [
        f"Together, {each.first} and {each.second} change the mean {analysis.figure.label} by "
        f"{with_interval(each.contrast, each.interval, sign=True)} more than the sum of both alone "
        f"(95 % interval, unadjusted{', over all runs' * analysis.has_more_runs})."
        for each in analysis.interactions
        if {each.first.split()[0], each.second.split()[0]} & asked
    ]


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


def _verdicts(analysis: Analysis) -> str:
    """Return all comparisons in one sentence for each reference, grouped by what came of them."""
    summary, looks = analysis.summary, looks_of(analysis.records)
    against = [test for test in summary.comparisons if not test.contrast]
    adjusted = (
        f"with p after Holm's adjustment over {summary.num_tests} {'exact ' * looks.is_exact}"
        f"{'sequential ' * (len(looks.sizes) > 1)}Mann–Whitney tests{simulated(looks)}"
    )
    so_far = "Against" if summary.complete else "So far, against"
    if against:
        text = f"{so_far} the baseline {_reference(summary, against)}, {adjusted}: "
        text += f"{_grouped(summary, against)}."
    else:
        first = "Contrasts" if summary.complete else "So far, contrasts"
        text = f"No arm has been compared with the baseline yet. {first}, {adjusted}:"
    for contrast in dict.fromkeys(test.contrast for test in summary.comparisons if test.contrast):
        tests = [test for test in summary.comparisons if test.contrast == contrast]
        text += f" {contrast}: {_grouped(summary, tests)}."
    return text + "".join(f" {_sentence(lost)}" for lost in summary.lost_arms())


def _reference(summary: StudySummary, tests: Sequence[Comparison]) -> str:
    """Return the baseline, with its mean if all comparisons are of the same of its runs."""
    baseline = summary.arm(tests[0].baseline)
    counts = {test.num_runs[1] for test in tests}
    if len(counts) > 1:
        return baseline.name
    (count,) = counts
    first = "first " * (count < len(baseline.scores))
    return (
        f"{baseline.name} (test {summary.figure.label} {describe(baseline, count)}, "
        f"{first}{count} runs)"
    )


def _grouped(summary: StudySummary, tests: Sequence[Comparison]) -> str:
    """Return comparisons by what came of them."""
    alike = len({test.num_runs[1] for test in tests}) == 1 and not any(
        test.contrast for test in tests
    )
    groups: dict[str, list[str]] = {}
    for test in tests:
        arm, baseline = summary.arm(test.arm), summary.arm(test.baseline)
        said = means(test, arm, baseline)
        if alike:
            said = describe(arm, test.num_runs[0]) + first_seeds(test, arm, baseline)
        name = f"{arm.name} against {test.baseline}" if test.contrast else arm.name
        p_value = "" if test.p_holm is None else f", {p_phrase(test.p_holm)}"
        objections = "".join(f"; {each}" for each in _objections(test))
        groups.setdefault(_group(test), []).append(
            f"{name} ({said}; P = {test.superiority:.2f}{p_value}{objections})"
        )
    order = sorted(groups, key=lambda group: GROUPS.index(group.partition(",")[0]))
    return "; ".join(f"{name}: {', '.join(groups[name])}" for name in order)


def _objections(test: Comparison) -> tuple[str, ...]:
    """Return why what is resolved is no victory, or what is not was stopped."""
    if test.futile:
        return (futility(test),)
    return test.axes.objections if test.axes and test.is_resolved else ()


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
        return f"not tested yet, before {test.due} seeds of either"
    if test.withheld:
        return f"p withheld, since {test.withheld}"
    if test.is_beaten:
        return "better" if test.wins else "worse"
    if test.is_resolved:
        return f"{'better' if test.wins else 'worse'} on the score alone"
    return "equivalent" if test.equivalent else "not resolved"


def _sentence(text: str) -> str:
    return text if text.endswith(".") else text + "."

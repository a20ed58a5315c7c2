"""The report's tables, built once and rendered as HTML, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from harness.evaluate.ladder import in_words
from harness.results.comparison import Comparison
from harness.results.report.analysis import Analysis
from harness.results.report.arm import ArmAnalysis, Share
from harness.results.report.axes_table import axes
from harness.results.report.captions import looks_of, rank_test, simulated, ties_aside
from harness.results.report.cost_table import cost
from harness.results.report.marginal_table import marginal_table
from harness.results.report.metric_tables import (
    metrics,
    metrics_by_the_judge,
    metrics_of_the_way_back,
)
from harness.results.report.records import RunRecord
from harness.results.report.table import Row, Table, row
from harness.results.spelling import (
    NONE,
    counted,
    number,
    p_text,
    plus_minus,
    setting_text,
    with_interval,
)
from harness.study.space import Choice, Range


def build_tables(analysis: Analysis) -> list[Table]:
    """Return all tables that have rows, the most important first."""
    tables = [
        _results(analysis),
        _contrasts(analysis),
        axes(analysis),
        _failures(analysis),
        cost(analysis),
        _settings(analysis),
        marginal_table(analysis),
        _effects(analysis),
        _interactions(analysis),
        _pairs(analysis),
        metrics(analysis),
        metrics_by_the_judge(analysis),
        metrics_of_the_way_back(analysis),
        _runs(analysis),
    ]
    return [table for table in tables if table.rows]


def _in_words(arm: ArmAnalysis) -> str:
    """Return what an arm's mean FID is as much as, on its ruler; nothing where that is unknown."""
    if arm.figure.name != "fid" or arm.summary.mean is None:
        return ""
    params = arm.scored[0].params
    samples = int(params.get("evaluate.samples", 0))
    return in_words(params.get("evaluate.extractor", ""), samples, arm.summary.mean) or ""


def _results(analysis: Analysis) -> Table:
    rows = []
    said = any(map(_in_words, analysis.arms))
    for arm in analysis.arms:
        summary = arm.summary
        best = arm.scored[0].score(analysis.metric) if arm.scored else None
        rows.append(
            row(
                arm.name,
                f"{summary.num_scored}/{len(summary.scores)}",
                plus_minus(summary.mean, summary.sd),
                number(summary.median),
                with_interval(arm.iqm, arm.iqm_interval),
                number(best),
                *([_in_words(arm) or NONE] if said else []),
                runs=arm.confirm,
            )
        )
    return Table(
        name="results",
        caption=(
            f"Test {analysis.figure.label} ({analysis.metric}) of the confirm runs, "
            f"{analysis.figure.direction()}. Mean ± sample "
            "standard deviation over the n_ok runs with a score out of n; median and "
            "interquartile mean (IQM) over all n, runs without a score ranking worst (– where they "
            "reach it). Brackets: 95 % percentile bootstrap interval over training seeds, "
            "conditional on the settings that one search chose; none below five runs."
            + " Over all runs; comparisons are of those that both arms had reached at a look."
            * analysis.has_more_runs
            + (
                f" Real {analysis.records.kind.noun} score "
                f"{number(analysis.summary.floor)} against the test split."
                if analysis.summary.floor is not None
                else ""
            )
            + " As much as: the damage to real images that costs as much on this ruler." * said
            + (
                f" The images that are translated score {number(copies)} as they are."
                if (copies := analysis.copies(analysis.figure)) is not None
                else ""
            )
        ),
        columns=(
            *("arm", "n_ok/n", "mean ± sd", "median", "IQM", "best"),
            *(["as much as"] if said else []),
        ),
        rows=tuple(rows),
    )


def _contrasts(analysis: Analysis) -> Table:
    rows = []
    for contrast in analysis.contrasts:
        test = contrast.test
        rows.append(
            row(
                analysis.name_of(test),
                with_interval(test.superiority, test.interval, places=2),
                p_text(test.p_value),
                p_text(test.p_holm),
                p_text(test.smallest_p),
                with_interval(test.difference, test.difference_interval, sign=True),
                number(contrast.effect_size, sign=True),
                runs=analysis.runs_of(test),
            )
        )
    count, wins = len(analysis.contrasts), _wins(analysis)
    looks, tests = looks_of(analysis.records), analysis.summary.comparisons
    return Table(
        name="comparison",
        caption=(
            f"{_what_is_compared(tests)} on test {analysis.figure.label}. {wins} is the chance "
            "that a run of the first arm scores better than one of the second, with Newcombe's "
            f"95 % interval, unadjusted; p is the {rank_test(looks)} test{simulated(looks)}, "
            f"{analysis.records.chosen}, runs without a score ranking worst; Holm's adjustment is "
            f"over {counted(count, 'test')}; least p is the smallest that these numbers of runs "
            "can yield after Holm's adjustment. A − B is the Hodges–Lehmann difference, the median "
            "over all pairs of runs, with all shifts that the test does not reject at "
            f"{_levels(tests)}: the interval excludes 0 where the comparison is resolved"
            f"{ties_aside(tests)}. Descriptive: Hedges' g of scored runs."
        ),
        columns=("arms A against B", wins, "p", "p (Holm)", "least p", "A − B", "g"),
        rows=tuple(rows),
    )


def _what_is_compared(tests: Sequence[Comparison]) -> str:
    kinds = {bool(test.contrast) for test in tests}
    if kinds == {True}:
        return "Contrasts of the plan"
    return f"Every arm against the baseline{', and contrasts of the plan,' * (True in kinds)}"


def _failures(analysis: Analysis) -> Table:
    rows = [
        row(
            arm.name,
            _share(arm.share("diverged")),
            _share(arm.share("collapsed")),
            _share(arm.share("failed")),
            _lost(arm.search),
            runs=(*arm.confirm, *arm.search),
        )
        for arm in analysis.arms
    ]
    return Table(
        name="failures",
        caption=(
            "Runs that diverged (a loss or weight became non-finite), collapsed (features spread "
            "less than 5 % of the real ones') or failed with an error: counts of the confirm runs "
            "with Wilson's 95 % interval in per cent; of the search runs, counts alone."
        ),
        columns=("arm", "diverged", "collapsed", "failed", "in the search"),
        rows=tuple(rows),
    )


def _lost(runs: Sequence[RunRecord]) -> str:
    if not runs:
        return NONE
    kinds = ("diverged", "collapsed", "failed", "pruned")
    counts = {kind: sum(run.outcome == kind for run in runs) for kind in kinds}
    named = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    return (named or "0") + f" of {len(runs)}"


def _settings(analysis: Analysis) -> Table:
    rows = []
    for arm in analysis.arms:
        space = arm.state.arm.space
        for key, parameter in space.items():
            chosen = arm.state.best or {}
            rows.append(
                row(
                    arm.name,
                    key,
                    _domain(parameter),
                    setting_text(arm.state.arm.defaults.get(key)),
                    setting_text(chosen.get(key)),
                    runs=arm.search,
                )
            )
    return Table(
        name="settings",
        caption=(
            f"What was tuned in every arm, on validation {analysis.figure.label}: where the search "
            "could look, trial 0, "
            "and what was confirmed."
        ),
        columns=("arm", "parameter", "searched", "trial 0", "confirmed"),
        rows=tuple(rows),
    )


def _effects(analysis: Analysis) -> Table:
    wins = _wins(analysis)
    rows = [
        row(
            analysis.name_of(effect),
            f"{effect.num_strata} of {effect.all_strata}",
            number(effect.superiority, places=2),
            p_text(effect.p_value),
            p_text(effect.p_holm),
            with_interval(effect.difference, effect.difference_interval, sign=True),
            runs=analysis.runs_of(effect),
        )
        for effect in analysis.effects
    ]
    return Table(
        name="effects",
        caption=(
            "Marginal effects: a factor's level A against the baseline's level B within every "
            f"combination of the other factors (a stratum) where both have runs. {wins} is the "
            "mean over strata; p is the exact two-sided test that deals runs anew within strata "
            f"only, Holm's adjustment over {len(rows)}, those included that have no stratum with "
            "runs on both sides. A − B is the shift over strata after which both win equally "
            "often, with all shifts that the test does not reject at the level of its step. "
            + ("What the plan tests." if analysis.summary.primary else "Exploratory.")
        ),
        columns=("level A against B", "strata", wins, "p", "p (Holm)", "A − B"),
        rows=tuple(rows),
    )


def _interactions(analysis: Analysis) -> Table:
    rows = [
        row(
            f"{each.first} and {each.second}",
            with_interval(each.contrast, each.interval, sign=True),
            runs=_confirm(analysis, *each.arms),
        )
        for each in analysis.interactions
    ]
    return Table(
        name="interactions",
        caption=(
            "Interactions: how much more the first step changes the mean test "
            f"{analysis.figure.label} where the second step is made too (difference of "
            "differences, scored runs; 95 % interval, Welch's t, unadjusted). "
            "Descriptive; it depends on the scale, here that of the score itself."
        ),
        columns=("steps", "contrast"),
        rows=tuple(rows),
    )


def _pairs(analysis: Analysis) -> Table:
    looks = looks_of(analysis.records)
    return Table(
        name="pairs",
        caption=(
            f"All pairs of arms, exploratory: {_wins(analysis)} with Newcombe's 95 % interval, "
            f"unadjusted, {rank_test(looks)} p{simulated(looks)}, Holm's adjustment over "
            f"{len(analysis.pairs)}; A − B is the Hodges–Lehmann difference with all shifts that "
            f"the test does not reject at {_levels(analysis.pairs)}."
        ),
        columns=("arms A against B", _wins(analysis), "p", "p (Holm)", "A − B"),
        rows=tuple(_pair(analysis, pair) for pair in analysis.pairs),
    )


def _pair(analysis: Analysis, pair: Comparison) -> Row:
    return row(
        analysis.name_of(pair),
        with_interval(pair.superiority, pair.interval, places=2),
        p_text(pair.p_value),
        p_text(pair.p_holm),
        with_interval(pair.difference, pair.difference_interval, sign=True),
        runs=analysis.runs_of(pair),
    )


def _runs(analysis: Analysis) -> Table:
    rows, label = [], analysis.figure.label
    for arm in analysis.arms:
        tuned = list(arm.state.arm.space)
        for run in (*arm.search, *arm.confirm):
            rows.append(
                row(
                    f"{arm.name} {run.phase} {run.trial}",
                    str(run.seed),
                    ", ".join(f"{key} = {setting_text(run.params.get(key))}" for key in tuned)
                    or NONE,
                    run.outcome,
                    number(run.score(analysis.objective)),
                    number(run.score(analysis.metric)),
                    runs=(run,),
                )
            )
    return Table(
        name="runs",
        caption="Every run that the tables rest on; all settings and all digits are in runs.csv.",
        columns=("run", "seed", "settings", "outcome", f"validation {label}", f"test {label}"),
        rows=tuple(rows),
    )


def _wins(analysis: Analysis) -> str:
    return f"P(A {analysis.figure.beats} B)"


def _levels(comparisons: Sequence[Comparison]) -> str:
    """Say at which level intervals of differences are."""
    if len(comparisons) < 2:
        return "level 0.05"
    return f"the level of its step in Holm's procedure (0.05/{len(comparisons)} to 0.05)"


def _confirm(analysis: Analysis, *arms: str) -> list[RunRecord]:
    return [run for name in arms for run in analysis.arm(name).confirm]


def _share(share: Share) -> str:
    if share.interval is None:
        return NONE
    low, high = (round(100 * end) for end in share.interval)
    return f"{share.count}/{share.total} [{low}, {high}]"


def _domain(parameter: Choice | Range) -> str:
    if isinstance(parameter, Choice):
        return "{" + ", ".join(setting_text(value) for value in parameter.values) + "}"
    return (
        f"[{setting_text(parameter.low)}, {setting_text(parameter.high)}]" + " log" * parameter.log
    )

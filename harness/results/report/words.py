"""The report's sentences, generated from facts of the study and as strong as its evidence."""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from harness.evaluate.metric import Figure, figure_of
from harness.results.report.analysis import Analysis
from harness.results.report.records import SCORED, Curves, RunRecord, StudyRecords, budget_text
from harness.results.spelling import number, p_phrase, p_text
from harness.results.statistics import smallest_p
from harness.results.summary import StudySummary, describe
from harness.study.space import Range
from harness.study.study import Arm

LATE = 0.8  # of a run's training: what the end is compared with
STILL_IMPROVING = 0.05  # of the score, from there to the end
FEWEST_CHOICES = 3  # listed numbers that have an edge to speak of
EDGE_SHARE = 0.05  # of a range, on its own scale, that counts as its edge
UNEQUAL = 1.5  # ratio of costs from which arms differ in compute
FEW_SEEDS = 10
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
    for arm in analysis.arms:
        lost = len(arm.confirm) - len(arm.scored)
        if lost:
            kinds = sorted({run.outcome for run in arm.confirm} - set(SCORED))
            found.append(
                f"{lost} of {len(arm.confirm)} confirm runs of {arm.name} have no score "
                f"({', '.join(kinds)}); they rank worst in all tests."
            )
        if arm.share("collapsed").count:
            share = arm.share("collapsed")
            found.append(f"{share.count} of {share.total} confirm runs of {arm.name} collapsed.")
        if arm.state.search_done and arm.state.best is None:
            found.append(f"No setting of {arm.name} survived the search: nothing was confirmed.")
    return found


def answer(analysis: Analysis) -> str:
    """Return the answer, one paragraph."""
    summary = analysis.summary
    few = len(summary.comparisons) <= MOST_SPELT_OUT
    sentences = [_sentence(text) for text in summary.answer()] if few else [_verdicts(summary)]
    if not all(test.is_resolved for test in summary.comparisons):
        sentences.append(
            "Not resolved means that these runs are compatible with no difference; it does not "
            "mean that there is none."
        )
    if not summary.comparisons:
        return " ".join(sentences)
    counts = [len(arm.state.search) for arm in analysis.arms]
    settings = (
        f"the settings that a search of {_span(counts)} trials per arm chose on validation data"
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


def methods(analysis: Analysis, studies: Sequence[StudyRecords]) -> list[str]:
    """Return the protocol with its numbers, one paragraph per study and one on statistics."""
    return [
        *(_study_methods(records, joint=len(studies) > 1) for records in studies),
        _evaluation(analysis),
        _statistics(analysis),
        _software(analysis.records.runs),
    ]


def _study_methods(records: StudyRecords, *, joint: bool) -> str:
    study, sizes = records.study, records.profile
    figure = figure_of(records.definition.objective)
    arms = [state.arm for state in records.states]
    text = [f"Study {records.name}." if joint else ""]
    text.append(
        f"Data: {study.dataset} (digest {records.definition.dataset_digest}), "
        f"{sizes.get('train', 0):,} training, {sizes.get('validation', 0):,} validation and "
        f"{sizes.get('test', 0):,} test images, kept apart from each other."
    )
    text.append(
        f"Arms: {_listed(arms)}; baseline {study.baseline_arm}. "
        + (f"The same in all arms: {_assignments(study.fixed)}. " if study.fixed else "")
        + "All other settings are in runs.csv."
    )
    if tuned := [arm for arm in arms if arm.space]:
        trials = study.num_trials or "all grid points as"
        seeds = study.search.seeds
        where = "every arm" if len(tuned) == len(arms) else _listed(tuned)
        text.append(
            f"Search: in {where} {trials} trials ({study.search.sampler} sampling, pruner "
            f"{study.search.pruner}, trial 0 the arm's defaults) of {seeds} training "
            f"seed{'s' * (seeds > 1)} and {budget_text(records, study.search.budget_share)} each, "
            f"over {_spaces(tuned)}. The trial with the best validation "
            f"{figure.label} was confirmed."
        )
    text.append(
        f"Confirm: {study.confirm.seeds} fresh training seeds per arm that no search saw, "
        f"{budget_text(records)} each, no pruning. A run's score is its last evaluation."
    )
    return " ".join(filter(None, text))


def _spaces(arms: Sequence[Arm]) -> str:
    """Return what was tuned, naming the arms of what was not tuned alike in all."""
    found: dict[str, list[str]] = {}
    for arm in arms:
        for key, each in arm.space.items():
            if isinstance(each, Range):
                scale = "log-uniform" if each.log else "uniform"
                text = f"{key} {scale} in [{each.low:g}, {each.high:g}]"
            else:
                text = f"{key} in {{{', '.join(map(str, each.values))}}}"
            found.setdefault(text, []).append(arm.name)
    return "; ".join(
        text if len(names) == len(arms) else f"{text} ({', '.join(names)})"
        for text, names in found.items()
    )


def _evaluation(analysis: Analysis) -> str:
    run = next(run for run in analysis.records.runs if "evaluate.samples" in run.params)
    facts, times = run.params, analysis.records.study.evaluate.times
    samples = int(facts["evaluate.samples"])
    accuracy = facts.get("evaluate.extractor_accuracy")
    floor = analysis.summary.floor
    real = f" Real training images score {number(floor)} on the test split." if floor else ""
    labels = [figure.label for figure in analysis.figures]
    details = [
        f"{figure.label}: {', '.join(f'{name} {value}' for name, value in own.items())}"
        for figure in analysis.figures
        if (own := _own_facts(figure, facts))
    ]
    return (
        f"Evaluation: {times} times per run, evenly spaced, on validation images; at the end of a "
        f"confirm run on test images too. {_and(labels)} between {samples:,} "
        f"generated and {samples:,} real images, rounded to 8 bits, on "
        f"{facts['evaluate.num_features']} features of {facts['evaluate.extractor']} "
        f"(SHA-256 {facts['evaluate.extractor_sha256']}…"
        + (f", accuracy {accuracy}" if accuracy else "")
        + f"){''.join(f'; {each}' for each in details)}.{real} Evaluation changes nothing in "
        "training."
    )


def _own_facts(figure: Figure, facts: Mapping[str, str]) -> dict[str, str]:
    """Return what runs' records say of how a figure was made, e.g. the number of KID's subsets."""
    prefix = f"evaluate.{figure.name}_"
    return {
        key.removeprefix(prefix).replace("_", " "): facts[key]
        for key in facts
        if key.startswith(prefix)
    }


def _statistics(analysis: Analysis) -> str:
    label = analysis.figure.label
    return (
        f"Statistics: arms are compared unpaired on test {label}; what equal seeds may share, "
        "such as the order of the data, the tests do not use. The primary test is the exact "
        "two-sided Mann–Whitney test of every arm against the baseline, runs without a score "
        f"ranking worst, Holm's adjustment over all of them, level 0.05, "
        f"{analysis.records.chosen}. Intervals are at 95 %: Newcombe's for "
        f"P(A {analysis.figure.beats} B), Wilson's for shares, percentile bootstrap (10,000 "
        "resamples of runs) for interquartile means and differences. All else is exploratory."
    )


def _software(runs: Sequence[RunRecord]) -> str:
    def values(name: str, params: bool = False) -> str:
        found = {(run.params if params else run.tags).get(name, "unknown") for run in runs}
        return " / ".join(sorted(found))

    versions = ", ".join(
        f"{name} {values(f'version.{name}')}"
        for name in ("python", "torch", "torchmetrics", "scipy", "optuna", "mlflow")
    )
    plugins = " / ".join(sorted({_plugins(run) for run in runs} - {"none"}))
    return (
        f"Execution: {values('device', params=True)}, {values('threads', params=True)} thread(s) "
        f"per run, {values('precision', params=True)}; {versions}; "
        f"commit {values('mlflow.source.git.commit')}{'; plugins ' * bool(plugins)}{plugins}."
    )


def threats(analysis: Analysis, curves: Curves) -> list[str]:
    """Return the threats to validity that this study's own records show."""
    return [
        *_few_seeds(analysis),
        *_still_improving(analysis, curves),
        *_edges(analysis),
        *_failure_rates(analysis),
        *_compute(analysis),
        *_search_noise(analysis),
        *_conditions(analysis),
        *_joint(analysis),
        *_ruler(analysis),
    ]


def _few_seeds(analysis: Analysis) -> Iterator[str]:
    sizes = [len(arm.confirm) for arm in analysis.arms if arm.confirm]
    if sizes and min(sizes) < FEW_SEEDS:
        least = sorted(sizes)[:2]
        p_value = smallest_p(least[0], least[-1])
        yield (
            f"Few seeds: {min(sizes)} runs in an arm. The smallest attainable p between two such "
            f"arms is {p_text(p_value)}, and bootstrap intervals from so few runs are too "
            "narrow: in simulations, nominal 95 % ones of five runs cover 88 to 90 %."
        )


def _still_improving(analysis: Analysis, curves: Curves) -> Iterator[str]:
    for arm in analysis.arms:
        changes, share = [], LATE
        for run in arm.scored:
            curve = curves.get(run.run_id, {}).get(analysis.objective, ())
            if len(curve) < 2:
                continue
            last, value = curve[-1]
            late, earlier = min(curve[:-1], key=lambda point: abs(point[0] - LATE * last))
            if earlier != 0:
                changes.append(analysis.figure.sign * (value - earlier) / abs(earlier))
                share = late / last
        if changes and (change := float(np.median(changes))) < -STILL_IMPROVING:
            yield (
                f"Budget: the validation {arm.figure.label} of {arm.name} was still improving, by "
                f"{-100 * change:.0f} % (median) after {100 * share:.0f} % of the training; a "
                "longer budget may change the order of the arms."
            )


def _edges(analysis: Analysis) -> Iterator[str]:
    for arm in analysis.arms:
        for key, parameter in arm.state.arm.space.items():
            value = (arm.state.best or {}).get(key)
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if isinstance(parameter, Range):
                low, high = parameter.low, parameter.high
            else:
                if len(parameter.values) < FEWEST_CHOICES:
                    continue
                listed = [float(each) for each in parameter.values]
                low, high = min(listed), max(listed)
            place = (
                math.log(value / low) / math.log(high / low)
                if isinstance(parameter, Range) and parameter.log
                else (value - low) / (high - low)
            )
            if place < EDGE_SHARE or place > 1 - EDGE_SHARE:
                side = "lower" if place < EDGE_SHARE else "upper"
                yield (
                    f"Range: {arm.name}'s confirmed {key} = {value:.3g} lies at the {side} edge of "
                    f"[{low:g}, {high:g}]; better settings may lie beyond."
                )


def _failure_rates(analysis: Analysis) -> Iterator[str]:
    lost = {
        arm.name: sum(record.value is None for record in arm.state.search if record.is_done)
        for arm in analysis.arms
    }
    if len(set(lost.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in lost.items())
        yield (
            f"Unequal losses in the search (trials without a score: {listed}): arms chose among "
            "unequal numbers of scored settings."
        )
    rates = {
        arm.name: 1 - len(arm.scored) / len(arm.confirm) for arm in analysis.arms if arm.confirm
    }
    if len(set(rates.values())) > 1:
        listed = ", ".join(f"{name} {100 * rate:.0f} %" for name, rate in rates.items())
        yield (
            f"Unequal failure rates of confirm runs ({listed}): means are over the surviving runs "
            "and flatter the arms that fail; read medians and tests."
        )


def _compute(analysis: Analysis) -> Iterator[str]:
    seconds = {arm.name: arm.seconds_per_run for arm in analysis.arms if arm.seconds_per_run}
    sizes = {
        arm.name: sum(arm.num_parameters.values()) for arm in analysis.arms if arm.num_parameters
    }
    for what, costs in (("seconds of training per run", seconds), ("trainable parameters", sizes)):
        if costs and max(costs.values()) > UNEQUAL * min(costs.values()):
            most, least = max(costs, key=costs.__getitem__), min(costs, key=costs.__getitem__)
            yield (
                f"Unequal compute: {most} takes {costs[most] / costs[least]:.1f} times the {what} "
                f"of {least}; the budget was {budget_text(analysis.records)}."
            )


def _search_noise(analysis: Analysis) -> Iterator[str]:
    if not any(arm.search for arm in analysis.arms):
        yield "Nothing was tuned: the arms are compared at their given settings only."
        return
    counts = [len(arm.state.search) for arm in analysis.arms]
    if len(set(counts)) > 1:
        yield (
            f"Unequal search: arms were tuned with {_span(counts)} trials; those with more had "
            "better chances."
        )
    seeds = [len(record.cell.seeds) for arm in analysis.arms for record in arm.state.search]
    share = analysis.records.search_share
    length = "parts" if share is None else f"{100 * share:.0f} %"
    yield (
        f"One search: settings were chosen among {_span(counts)} trials per arm, each of "
        f"{_span(seeds)} training seed{'s' * (max(seeds) > 1)}"
        f"{f' at {length} of the full budget' * (share != 1)}. Another search could have chosen "
        "others; the intervals do not include this."
    )
    for arm in analysis.arms:
        values = sorted(arm.figure.cost(r.value) for r in arm.state.search if r.value is not None)
        sd = arm.metric_mean(analysis.objective)[1]
        if len(values) > 1 and math.isfinite(sd) and values[1] - values[0] < sd:
            yield (
                f"Close call in {arm.name}'s search: the two best trials differ by "
                f"{number(values[1] - values[0])} in validation {arm.figure.label}, less than "
                f"the spread of its confirm runs over seeds ({number(sd)})."
            )


def _conditions(analysis: Analysis) -> Iterator[str]:
    runs = [run for run in analysis.records.runs if run.used]
    watched: dict[str, Any] = {
        "device": [run.params.get("device") for run in runs],
        "precision": [run.params.get("precision") for run in runs],
        "thread count": [run.params.get("threads") for run in runs],
        "torch version": [run.tags.get("version.torch") for run in runs],
        "commit": [run.tags.get("mlflow.source.git.commit") for run in runs],
        "plugins": [_plugins(run) for run in runs],
        "budget": [_budget(run) for run in runs if run.phase == "confirm"],
    }
    for what, values in watched.items():
        found = sorted({_short(str(value)) for value in values if value is not None})
        if len(found) > 1:
            yield f"Mixed conditions: the runs differ in {what} ({', '.join(found)})."
    if any("-dirty" in run.tags.get("mlflow.source.git.commit", "") for run in runs):
        yield "Some runs were trained from a checkout with uncommitted changes."


def _joint(analysis: Analysis) -> Iterator[str]:
    parts = analysis.records.parts
    if not analysis.records.is_joint:
        return
    yield (
        "Put together after the fact: comparisons across studies were not planned when the studies "
        "were started."
    )
    described = {
        "fixed settings": {name: _assignments(study.fixed) for name, study in parts.items()},
        "search": {
            name: f"{study.search.sampler}, pruner {study.search.pruner}, {study.search.seeds} "
            f"seed(s) per trial, share {study.search.budget_share:g}"
            for name, study in parts.items()
        },
        "preset": {name: str(study.preset) for name, study in parts.items()},
    }
    for what, values in described.items():
        if len(set(values.values())) > 1:
            listed = "; ".join(f"{name}: {value or 'none'}" for name, value in values.items())
            yield f"Different {what} across studies ({listed})."


def _short(value: str) -> str:
    """Cut a commit to twelve digits."""
    commit, dirty, _ = value.partition("-dirty")
    return commit[:12] + dirty if len(commit) == 40 else value


def _plugins(run: RunRecord) -> str:
    named = {key: run.tags[key] for key in sorted(run.tags) if key.startswith("plugin.")}
    return ", ".join(f"{key.removeprefix('plugin.')} {named[key]}" for key in named) or "none"


def _budget(run: RunRecord) -> str:
    given = {key: run.params[key] for key in run.params if key.startswith("budget.")}
    return ", ".join(f"{value} {key.removeprefix('budget.')}" for key, value in given.items())


def _ruler(analysis: Analysis) -> Iterator[str]:
    samples = next(
        (int(run.params["evaluate.samples"]) for run in analysis.records.runs if run.used), 0
    )
    if "inception" not in analysis.metric:
        yield (
            "Scores here are on features of a classifier of the data's own domain: they compare "
            "arms of this protocol and not with published ones on Inception's features."
        )
    if analysis.figure.caveat:
        yield f"{analysis.figure.label} (n = {samples:,}) {analysis.figure.caveat}."


def reproduction(analysis: Analysis, studies: Sequence[StudyRecords]) -> list[tuple[str, str]]:
    """Return (what, command) pairs that make this report again."""
    steps = []
    for records in studies:
        # The newest: an extended study was continued by another command than it was started by.
        last = max(records.runs, key=lambda run: run.started)
        started = last.tags.get("command", f"harness run studies/{records.name}.toml")
        steps.append((f"run the study {records.name} (the same command continues it)", started))
    names = " ".join(shlex.quote(records.name) for records in studies)
    options = "".join(f" --plugin {shlex.quote(each)}" for each in _plugin_sources(studies))
    steps.append(("make this report", f"harness report {names}{options}"))
    scored = [arm.scored[0] for arm in analysis.arms if arm.scored]
    if scored:
        steps.append(
            ("train one run again and compare it", f"harness reproduce {scored[0].run_id}{options}")
        )
    return steps


def _plugin_sources(studies: Sequence[StudyRecords]) -> list[str]:
    """Return what `--plugin` named when the studies were run."""
    commands = {run.tags.get("command", "") for records in studies for run in records.runs}
    words = [shlex.split(command) for command in sorted(commands)]
    pairs = [pair for each in words for pair in itertools.pairwise(each)]
    return list(dict.fromkeys(source for option, source in pairs if option == "--plugin"))


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


def _listed(arms: Sequence[Arm]) -> str:
    return ", ".join(arm.name for arm in arms)


def _sentence(text: str) -> str:
    return text if text.endswith(".") else text + "."


def _assignments(settings: Any) -> str:
    return ", ".join(f"{key} = {value}" for key, value in settings.items())

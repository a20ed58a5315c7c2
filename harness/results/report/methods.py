"""What was done, with the numbers of the protocol, and the commands that do it again."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from harness.evaluate.metric import BACK, Figure, figure_of
from harness.results.axes import REQUIRED
from harness.results.report.analysis import Analysis
from harness.results.report.captions import looks_of, rank_test, simulated
from harness.results.report.records import JUDGE, RunRecord, StudyRecords, budget_text
from harness.results.spelling import assignments, capital, counted, joined, number
from harness.statistics import FUTILE
from harness.study.arm import Arm
from harness.study.presets import load_preset
from harness.study.space import Range


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
    other = sizes.get("from")
    figure = figure_of(records.definition.objective)
    arms = [state.arm for state in records.states]
    text = [f"Study {records.name}." if joint else ""]
    text.append(
        f"Data: {study.dataset} (digest {records.definition.dataset_digest}), "
        f"{_sizes(sizes)} {records.kind.noun}, kept apart from each other"
        + (f"; translated are images of another domain: {_sizes(other)}, unpaired" if other else "")
        + "."
    )
    baseline = "nothing is ranked" if study.descriptive else f"baseline {study.baseline_arm}"
    text.append(
        ("Nothing is compared. " if study.is_search else f"Arms: {_listed(arms)}; {baseline}. ")
        + (
            f"The same in all {'runs' if study.is_search else 'arms'}: {assignments(study.fixed)}. "
            if study.fixed
            else ""
        )
        + "All other settings are in runs.csv."
    )
    text += [_describe_preset(name) for name in dict.fromkeys(arm.preset for arm in arms) if name]
    if tuned := [arm for arm in arms if arm.space]:
        trials = study.num_trials or "all grid points as"
        seeds = study.search.seeds
        where = "every arm" if len(tuned) == len(arms) else _listed(tuned)
        text.append(
            f"Search: in {where} {trials} trials ({study.search.sampler} sampling, pruner "
            f"{study.search.pruner}, trial 0 the arm's defaults) of "
            f"{counted(seeds, 'training seed')} and "
            f"{budget_text(records, study.search.budget_share)} each, over {_spaces(tuned)}. "
            f"The trial with the best validation {figure.label} was confirmed."
        )
    text.append(
        f"Confirm: {study.confirm.seeds} fresh training seeds per arm that no search saw, "
        f"{budget_text(records)} each, no pruning. A run's score is its last evaluation."
    )
    return " ".join(filter(None, text))


def _sizes(profile: Mapping[str, Any]) -> str:
    counts = (profile.get(split, 0) for split in ("train", "validation", "test"))
    return "{:,} training, {:,} validation and {:,} test".format(*counts)


def _describe_preset(name: str) -> str:
    preset = load_preset(name)
    return " ".join((f"Preset {name}: {preset.description}.", *preset.deviations))


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
    kind = analysis.records.kind
    real = f" Real training {kind.noun} score {number(floor)} on the test split." if floor else ""
    labels = [figure.label for figure in analysis.figures]
    details = [
        f"{figure.label}: {', '.join(f'{name} {value}' for name, value in own.items())}"
        for figure in analysis.figures
        if (own := _own_facts(figure, facts))
    ]
    return (
        f"Evaluation: {times} times per run, at shares of the budget that grow by one factor up to "
        f"1, on validation {kind.noun}; at the end of a confirm run on test {kind.noun} too. "
        f"{capital(joined(labels))} between {samples:,} generated and {samples:,} real "
        f"{kind.noun}, {kind.precision}, on "
        f"{facts['evaluate.num_features']} features of {facts['evaluate.extractor']} "
        f"(SHA-256 {facts['evaluate.extractor_sha256']}…"
        + (f", accuracy {accuracy}" if accuracy else "")
        + f"){''.join(f'; {each}' for each in details)}.{real}{_ways(analysis, facts)}"
        f"{_judge(analysis.records)} Evaluation changes nothing in training."
    )


def _judge(records: StudyRecords) -> str:
    """Return by what confirm runs are measured a second time, or nothing."""
    facts = next((run.params for run in records.runs if JUDGE in run.params), None)
    if facts is None:
        return ""
    return (
        f" Confirm runs end with a second measurement, by {facts[JUDGE]} "
        f"(SHA-256 {facts['evaluate.judge_sha256']}…, accuracy {facts['evaluate.judge_accuracy']}),"
        " which chose nothing."
    )


def _ways(analysis: Analysis, facts: Mapping[str, str]) -> str:
    """Return what is scored of translations, or nothing where there are none."""
    copies = analysis.copies(analysis.figure)
    if copies is None:
        return ""
    text = (
        " Scored are translations of the other domain's held-out images; left as they are, these "
        f"score {number(copies)} on the test split."
    )
    if analysis.leads_back:
        extractor = facts.get(f"evaluate.extractor_{BACK}", facts["evaluate.extractor"])
        text += f" Translations back are scored likewise against that domain, on {extractor}."
    return text


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
    if analysis.summary.unranked:
        return (
            f"Statistics: {analysis.summary.unranked[0].lower()}{analysis.summary.unranked[1:]}, "
            "and no arms are tested. Intervals are at 95 %: Wilson's for shares, percentile "
            "bootstrap over runs for interquartile means."
        )
    return (
        f"Statistics: arms are compared unpaired on test {label}; what equal seeds may share, "
        f"such as the order of the data, the tests do not use. {_primary(analysis)}, runs without "
        f"a score ranking worst, Holm's adjustment over all of them, level 0.05, "
        f"{analysis.records.chosen}. The test assumes independent runs, and its null is that both "
        f"arms have one distribution: rejecting it says that they differ.{_required(analysis)}"
        f"{_smallest(analysis)} Intervals of the Hodges–Lehmann difference hold the "
        "shifts that this test does not reject at the level of its step. Other intervals are at "
        f"95 %, unadjusted: Newcombe's for P(A {analysis.figure.beats} B), Wilson's for shares, "
        "percentile bootstrap over runs for interquartile means. All else is exploratory."
    )


def _smallest(analysis: Analysis) -> str:
    """Return which difference matters by the plan; empty where it does not say."""
    effect = analysis.records.study.confirm.smallest_effect
    if effect is None:
        return ""
    return (
        f" The smallest difference that matters, by the plan, is {effect:g} {analysis.figure.label}"
        f": arms are the same within ±{effect:g} where their interval lies inside."
    )


def _required(analysis: Analysis) -> str:
    """Return what a better score must not have cost; empty where nothing was asked."""
    margin = analysis.records.study.confirm.coverage_margin
    axes = [test.axes for test in analysis.verdicts if test.axes]
    known = {axis.name for each in axes for axis in each.found}
    known |= {name for each in axes for name in each.missing if name in REQUIRED}
    asked = {
        "fidelity": "its FID is not clearly worse (in four fifths of the pairs)",
        "diversity": f"its coverage is shown to be no worse by {margin:g} (exact one-sided test at "
        "the level of its step)",
        "memorisation": "it raises no alarm of copying",
    }
    besides = joined([text for axis, text in asked.items() if axis in known])
    what = "A level" if analysis.summary.primary else "An arm"
    return f" {what} beats another only where, besides, {besides}." if besides else ""


def _primary(analysis: Analysis) -> str:
    """Return what is tested, as the start of a sentence."""
    study = analysis.records.study
    if analysis.summary.primary:
        return (
            "The primary tests are exact two-sided stratified rank tests of every level of a "
            "factor against the baseline's, within combinations of the other factors"
        )
    looks = looks_of(analysis.records)
    tested = f"{rank_test(looks)} test{simulated(looks)} of every arm against the baseline"
    if len(looks.sizes) == 1:
        text = f"The primary test is the {tested}"
    else:
        text = (
            f"The primary test is a {tested}, at {', '.join(map(str, looks.sizes))} seeds an arm: "
            "its p is the chance that some look gives as small a fixed-sample p, so it holds "
            "wherever one stops. Comparisons that are resolved ask for no further seeds, nor do "
            "those that these would hardly resolve (futility, which binds nobody: conditional "
            f"power below {100 * FUTILE:.0f} % were there a difference that the last look finds "
            "with 80 % power)"
        )
    if study.contrasts and not analysis.records.is_joint:
        text += f"; contrasts of the plan are tested likewise ({'; '.join(study.contrasts)})"
    return text


def _software(runs: Sequence[RunRecord]) -> str:
    def values(name: str, params: bool = False) -> str:
        found = {(run.params if params else run.tags).get(name, "unknown") for run in runs}
        return " / ".join(sorted(found))

    versions = ", ".join(
        f"{name} {values(f'version.{name}')}"
        for name in ("python", "torch", "torchmetrics", "scipy", "optuna", "mlflow")
    )
    plugins = " / ".join(sorted({run.plugins for run in runs} - {"none"}))
    return (
        f"Execution: {values('device', params=True)}, {values('threads', params=True)} thread(s) "
        f"per run, {values('precision', params=True)}; {versions}; "
        f"commit {values('mlflow.source.git.commit')}{'; plugins ' * bool(plugins)}{plugins}."
    )


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


def _listed(arms: Sequence[Arm]) -> str:
    return ", ".join(arm.name for arm in arms)

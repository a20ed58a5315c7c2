"""The plan as it was registered, and a checklist that is filled from the records."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence

from harness.results.power import attainable, power_of
from harness.results.report.analysis import Analysis
from harness.results.report.records import JUDGE, StudyRecords
from harness.results.report.table import Table, row
from harness.results.spelling import commit_text, counted, number, p_text, span
from harness.study.ledger import Entry, Extension, Ledger

DAY = "%Y-%m-%d %H:%M UTC"


def plan_table(studies: Sequence[StudyRecords]) -> Table:
    """Return every entry of the studies' ledgers, in order of time."""
    rows = [
        row(
            time.strftime(DAY, time.gmtime(entry.time)),
            *([records.name] if len(studies) > 1 else []),
            _what(entry, records.ledger),
            ", ".join(f"{arm} {count}" for arm, count in entry.confirmed.items() if count) or "0",
            runs=[],
        )
        for records in studies
        for entry in records.ledger.entries
    ]
    return Table(
        name="plan",
        caption=(
            "The ledger: entries are added and never changed. The plan was registered before its "
            "first run; test scores were shown by these commands (what MLflow's pages show once "
            "they are open is not noted: runs that have ended count as looked at). Tests lose "
            "their level where seeds, trials or arms are added after a look, failed runs are run "
            "again, or runs repeat those of another study, and have no p then. Of a study that was "
            "removed (harness rm) nothing is known here."
        ),
        columns=(
            "when",
            *(["study"] if len(studies) > 1 else []),
            "what",
            "confirm runs that had ended",
        ),
        rows=tuple(rows),
    )


def _what(entry: Entry, ledger: Ledger) -> str:
    changes = next((each.changes for each in ledger.extensions if each.entry == entry), "")
    match entry.kind:
        case "displayed":
            return f"test scores shown by {entry.shown_by}"
        case "opened":
            return f"MLflow's pages, which show test scores, opened by {entry.shown_by}"
        case "repeated":
            return f"the same confirm runs had ended before ({entry.runs})"
        case "retried":
            return f"run again: {entry.runs}"
    assert entry.study is not None
    arms = entry.study.arms()
    seeds = " and ".join(map(str, entry.study.confirm.sizes))
    tests = counted(attainable(entry.study, arms)[0], "test")
    plan = f"{counted(len(arms), 'arm')}, {tests} at {seeds} seeds"
    for noun, digest in (("plan", entry.plan_sha256), ("file", entry.source_sha256)):
        plan += f", {noun} {digest[:12]}" if digest else ""
    if entry.kind == "registered":
        return f"registered: {plan}"
    return f"extended ({changes or 'nothing that bears on the tests'}): {plan}"


def checklist(analysis: Analysis, studies: Sequence[StudyRecords]) -> Table:
    """Return what reviewers ask for, each answered from the records."""
    return Table(
        name="checklist",
        caption=(
            "What checklists for experiments ask (after REFORMS, Kapoor et al. 2024, and the "
            "NeurIPS paper checklist), answered from the records."
        ),
        columns=("asked", "answer"),
        rows=tuple(row(asked, said, runs=[]) for asked, said in _answers(analysis, studies)),
    )


def _answers(analysis: Analysis, studies: Sequence[StudyRecords]) -> Iterator[tuple[str, str]]:
    records, summary = analysis.records, analysis.summary
    study = records.study
    yield "Is the question stated?", study.question
    ledgers = [each.ledger for each in studies]
    entries = [ledger.registered for ledger in ledgers]
    if any(entry is None for entry in entries):
        yield "Was the plan fixed in advance?", "not on record"
    else:
        late = sum(sum(entry.confirmed.values()) for entry in entries if entry)
        before = "before its first confirm run" if late == 0 else f"after {late} confirm runs"
        yield "Was the plan fixed in advance?", f"registered {before}; {_kept(records, ledgers)}"
    runs = span([len(arm.confirm) for arm in analysis.arms])
    yield (
        "What holds for whom?",
        (
            f"{study.dataset}, {runs} confirm runs an arm, these "
            "budgets and settings; no other data, sizes or budgets were tried"
        ),
    )
    yield (
        "Are training, choice and test data apart?",
        (
            "networks and rulers see training images, settings are chosen on validation images, "
            "test images score confirm runs only"
        ),
    )
    trials = {arm.name: len(arm.state.search) for arm in analysis.arms}
    equal = len(set(trials.values())) == 1
    searched = max(trials.values(), default=0) > 0
    yield (
        "Were all arms tuned alike?",
        (
            (f"{next(iter(trials.values()))} trials each" if searched else "nothing was tuned")
            if equal
            else ", ".join(f"{name} {count}" for name, count in trials.items())
        ),
    )
    if summary.withheld and not summary.unranked and not records.is_joint:
        yield "What could it have found?", f"no p is stated, since {summary.withheld}"
    elif not summary.unranked and not records.is_joint:
        facts = power_of(study, [state.arm for state in records.states])
        shift = facts["smallest_shift"]
        yield (
            "What could it have found?",
            (
                f"least attainable p {p_text(facts['smallest_p'])} after Holm over "
                f"{facts['num_tests']}"
                + (f"; differences of {number(shift)} sd with 80 % power" if shift else "")
            ),
        )
    failed = sum(len(arm.confirm) - len(arm.scored) for arm in analysis.arms)
    total = sum(len(arm.confirm) for arm in analysis.arms)
    yield "Are failures counted?", f"{failed} of {total} confirm runs have no score and rank worst"
    yield "Is uncertainty over seeds shown?", _uncertainty(analysis)
    asked = [test.axes for test in analysis.verdicts if test.axes]
    found = dict.fromkeys(axis.name for axes in asked for axis in axes.found)
    missing = dict.fromkeys(name for axes in asked for name in axes.missing)
    lacking = f"; not on record of all runs: {', '.join(missing)}" * bool(missing)
    yield (
        "Is the verdict more than one number?",
        f"{', '.join([*found, 'stability'])}{lacking}" if asked else "not on record",
    )
    judges = sorted({run.params[JUDGE] for run in records.runs if JUDGE in run.params})
    yield "Was it seen with other eyes?", ", ".join(judges) or "no second ruler on record"
    hours = sum(run.train_seconds for run in records.runs) / 3600
    devices = sorted({run.params.get("device", "unknown") for run in records.runs})
    yield "What did it cost?", f"{hours:.1f} hours of training on {', '.join(devices)}"
    commits = [run.tags.get("mlflow.source.git.commit", "unknown") for run in records.runs]
    yield "Which code was it?", ", ".join(sorted({commit_text(commit) for commit in commits}))
    yield "Can it be made again?", "commands below; runs on a CPU bit for bit (harness reproduce)"


def _kept(records: StudyRecords, ledgers: Sequence[Ledger]) -> str:
    """Say what was done to plans that were registered, and what is compared then."""
    done = ", ".join(_done(ledgers)) or "extended 0 times"
    if any(ledger.spoilt for ledger in ledgers):
        done += ": not kept"
        if not records.is_joint and not records.study.is_search:
            return done
    return f"{done}; {_compared(records)}"


def _done(ledgers: Sequence[Ledger]) -> Iterator[str]:
    """Yield what was done to plans after they were registered, each by its name."""
    changes = [change for ledger in ledgers for change in ledger.extensions]
    extended = Counter(_when(change) for change in changes if change.entry.kind == "extended")
    if extended:
        yield "extended " + " and ".join(f"{_times(n)} {when}" for when, n in extended.items())
    retried: Counter[str] = Counter()
    for change in changes:
        if change.entry.kind == "retried":
            retried[_when(change)] += len(change.entry.runs.split(", "))
    for when, count in retried.items():
        yield f"{counted(count, 'failed run')} run again {when}"
    repeats = sum(entry.kind == "repeated" for ledger in ledgers for entry in ledger.entries)
    if repeats:
        others = "another study" if repeats == 1 else f"{repeats} other studies"
        yield f"runs of {others} repeated"


def _when(change: Extension) -> str:
    if not change.changes:
        return "in nothing that bears on the tests"
    return "after a look" if change.seen else "before any look"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _compared(records: StudyRecords) -> str:
    if records.is_joint:
        return "put together after the fact"
    return "nothing is compared" if records.study.is_search else "compared as planned"


def _uncertainty(analysis: Analysis) -> str:
    """Say what there is to see of how runs of one arm differ."""
    arms = [arm for arm in analysis.arms if arm.confirm]
    if not arms:
        return "no confirm run has ended"
    with_interval = [arm for arm in arms if arm.iqm_interval is not None]
    sd = any(arm.summary.sd is not None for arm in arms)
    if not with_interval:
        points = "points and sd" if sd else "points"
        return f"{points}, by table and figure; no intervals below five runs"
    points = "points, sd and" if sd else "points and"
    if len(with_interval) < len(arms):
        points += ", of arms with five runs or more,"
    text = f"{points} intervals, by table and figure"
    if analysis.summary.withheld and analysis.summary.comparisons:
        text += "; of differences none, as p is withheld"
    return text

"""The ledger of the plan and the checklist: what follows from the runs, and the others' form."""

from __future__ import annotations

import re

from example.facts import Facts
from example.rank_tests import least_p, smallest_shift
from example.spelling import chance
from example.threats import short

DAY = r"\d{4}-\d\d-\d\d"
MINUTE = rf"{DAY} \d\d:\d\d UTC"
LOOK = (
    r"(?:test scores shown by harness \w+"
    "|MLflow's pages, which show test scores, opened by harness ui)"
)
ROUNDING = 0.1  # of a difference that is found by simulation


def slots(facts: Facts) -> dict[str, str]:
    """Return the text of the slots of plan and checklist."""
    arms, seeds = facts.arms, facts.study["confirm"]["seeds"]
    hours = sum(float(row["metric.progress/train_seconds"] or 0) for row in facts.all_rows) / 3600
    commits = {short(row["mlflow.source.git.commit"]) for row in facts.all_rows}
    return {
        "num_arms": str(len(arms)),
        "source": facts.source_sha256[:12],
        "num_confirmed": str(sum(len(facts.runs(arm)) for arm in arms)),
        "least_p": chance(least_p(seeds, seeds)),
        "hours": f"{hours:.1f}",
        "commits": ", ".join(sorted(commits)),
    }


def places(text: str, facts: Facts) -> dict[str, re.Match[str] | None]:
    """Return where a report says what no run tells, as group 1; None where the form is wrong."""
    study = facts.rows[0]["study"]
    ended = ", ".join(rf"{arm} \d+" for arm in facts.arms)
    any_ended = "|".join(["0", *(rf"{arm} \d+" for arm in facts.arms), ended])
    shown = rf"\| {MINUTE} \| {LOOK} \| (?:{any_ended}) \|"
    forms = {
        "date": rf"Study {study} · ({DAY}) ·",
        "digest": r"\(digest ([0-9a-f]{16})\)",
        "registered": rf"\| ({MINUTE}) \| registered: ",
        "plan": r"at \d+ seeds((?:, plan [0-9a-f]{12})?), file ",
        "shown": rf"\| 0 \|\n({shown}(?:\n{shown})*)",
        "detectable": rf"differences of ({detectable(facts)}) sd with",
        "command": rf"\n(harness run (?:\S*/)?{study}\.toml(?: --\S+(?: \d+)?)*)\n",
    }
    found = {name: re.search(form, text) for name, form in forms.items()}
    return found if _in_order(found["shown"]) else found | {"shown": None}


def _in_order(shown: re.Match[str] | None) -> bool:
    """Return whether entries follow each other in time, each of them once."""
    entries = shown[1].split("\n") if shown else []
    times = re.findall(MINUTE, "\n".join(entries))
    return times == sorted(times) and len(set(entries)) == len(entries)


def detectable(facts: Facts) -> str:
    """Return a pattern of the differences that five runs an arm find, to what draws leave open."""
    found = smallest_shift(facts.study["confirm"]["seeds"])
    near = (found + step / 100 for step in range(-round(100 * ROUNDING), 1 + round(100 * ROUNDING)))
    return "|".join(f"{value:.2f}" for value in near).replace(".", r"\.")

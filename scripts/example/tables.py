"""The tables of the example, every cell as it must be printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from scipy.stats import binomtest

from example import axes as axes_of
from example import views as views_of
from example.facts import Facts, Row, mean_sd, value_of
from example.ladder import in_words
from example.rank_tests import hedges, interquartile, least_p, newcombe, shifts, two_sided, wins
from example.spelling import NONE, chance, interval, number, plus_minus, scientific, setting

LOST = ("diverged", "collapsed", "failed", "pruned")
FIGURES = {  # beside FID
    "class_distance": "class distance",
    "class_kl": "class KL",
    "modes": "modes",
    "ambiguous": "ambiguous",
    "kid": "KID",
    "memorised": "memorised",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "feature_spread": "spread",
}
JUDGED = ("fid", "precision", "recall", "density", "coverage")


def markdown(columns: str, rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; columns are separated by semicolons."""
    names = columns.split("; ")
    rule = ["---", *["---:"] * (len(names) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (names, rule, *rows))


def results(facts: Facts) -> str:
    """Return the arms' scores."""
    said = {arm: in_words(facts, facts.scores(arm).mean()) for arm in facts.arms}
    rows = []
    for arm in facts.arms:
        scores = facts.scores(arm)
        row = [arm, f"{len(scores)}/{len(facts.runs(arm))}", plus_minus(*mean_sd(scores))]
        row += [number(np.median(scores)), interval(*interquartile(scores)), number(scores.min())]
        rows.append([*row, *([said[arm]] if any(said.values()) else [])])
    columns = "arm; n_ok/n; mean ± sd; median; IQM; best" + "; as much as" * any(said.values())
    return markdown(columns, rows)


def comparison(facts: Facts) -> str:
    """Return the other arm against the baseline: one test, so Holm's adjustment changes nothing."""
    a, b = map(facts.scores, facts.pair)
    share, p_value = wins(a, b), chance(two_sided(a, b))
    row = [
        " against ".join(facts.pair),
        interval(share, *newcombe(share, len(a), len(b)), places=2),
        p_value,
        p_value,
        chance(least_p(len(a), len(b))),
        interval(float(np.median(a[:, None] - b)), *shifts(a, b), sign="+"),
        number(hedges(a, b), sign="+"),
    ]
    return markdown("arms A against B; P(A < B); p; p (Holm); least p; A − B; g", [row])


def axes(facts: Facts) -> str:
    """Return what the better score has cost."""
    columns = "arms A against B: axis; figure; A; B; P(A better); p (no worse)"
    return markdown(columns, axes_of.rows(facts))


def views(facts: Facts) -> str:
    """Return other ways to look at the comparison."""
    columns = "arms A against B: view; at; A; B; P(A < B); p; the order"
    return markdown(columns, views_of.rows(facts))


def metrics(facts: Facts) -> str:
    """Return means and standard deviations of the other metrics, below what real images score."""
    rows = [["real images", NONE, *(plus_minus(*facts.floor(name)) for name in FIGURES)]]
    for arm in facts.arms:
        values = [facts.values(arm, facts.validation), *(facts.figure(arm, n) for n in FIGURES)]
        rows.append([arm, *(plus_minus(*mean_sd(each)) for each in values)])
    return markdown("; ".join(["arm", "validation FID", *FIGURES.values()]), rows)


def judge(facts: Facts) -> str:
    """Return what the second ruler makes of the same samples."""
    rows = [["real images", *(plus_minus(*facts.floor(name, judged=True)) for name in JUDGED)]]
    for arm in facts.arms:
        values = (facts.figure(arm, name, judged=True) for name in JUDGED)
        rows.append([arm, *(plus_minus(*mean_sd(each)) for each in values)])
    return markdown("arm; FID; precision; recall; density; coverage", rows)


def failures(facts: Facts) -> str:
    """Return counts with Wilson's intervals."""
    rows = []
    for arm in facts.arms:
        runs, search = facts.runs(arm), facts.runs(arm, "search")
        cells = []
        for outcome in LOST[:3]:
            count = sum(row["outcome"] == outcome for row in runs)
            low, high = binomtest(count, len(runs)).proportion_ci(method="wilson")
            cells.append(f"{count}/{len(runs)} [{100 * low:.0f}, {100 * high:.0f}]")
        counts = {kind: sum(row["outcome"] == kind for row in search) for kind in LOST}
        named = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        rows.append([arm, *cells, f"{named or 0} of {len(search)}"])
    return markdown("arm; diverged; collapsed; failed; in the search", rows)


def parameters(facts: Facts, arm: str) -> dict[str, int]:
    """Return how many trainable parameters each network has."""
    first = facts.runs(arm)[0]
    return {name: int(first[f"param.parameters.{name}"]) for name in ("generator", "discriminator")}


def costs(facts: Facts) -> str:
    """Return parameters, operations, seconds and the search's size."""
    columns = (
        "arm; parameters; by network; FLOPs per run; s per run; load; at once; search runs; "
        "search images; search s"
    )
    return markdown(columns, (_cost(facts, arm) for arm in facts.arms))


def _cost(facts: Facts, arm: str) -> list[str]:
    sizes, search = parameters(facts, arm), facts.runs(arm, "search")
    steps = [int(float(row["metric.progress/d_steps"] or 0)) for row in search]
    seconds = [float(row["metric.progress/train_seconds"] or 0) for row in search]
    images = sum(steps) * int(facts.param("batch_size"))
    beside = {(row["param.machine.workers"], row["param.threads"]) for row in facts.runs(arm)}
    return [
        arm,
        f"{sum(sizes.values()):,}",
        ", ".join(f"{name} {size:,}" for name, size in sizes.items()),
        scientific(facts.values(arm, "progress/flops").mean()),
        plus_minus(*mean_sd(facts.values(arm, "progress/train_seconds"))),
        number(facts.values(arm, "progress/load").mean()),
        ", ".join(sorted(" × ".join(each) for each in beside)),
        str(len(search)),
        f"{images:,}",
        number(sum(seconds)),
    ]


def settings(facts: Facts) -> str:
    """Return what was tuned."""
    rows = []
    for arm in facts.arms:
        for key, space in facts.study["space"].items():
            ends = f"[{setting(space['low'])}, {setting(space['high'])}]" + " log" * space["log"]
            tried = (facts.settings(arm, key, phase)[0] for phase in ("search", "confirm"))
            rows.append([arm, key, ends, *map(setting, tried)])
    return markdown("arm; parameter; searched; trial 0; confirmed", rows)


def runs(facts: Facts) -> str:
    """Return every run."""
    columns = "run; seed; settings; outcome; validation FID; test FID; MLflow run"
    return markdown(columns, _runs(facts))


def _runs(facts: Facts) -> Iterator[list[str]]:
    for arm in facts.arms:
        for row in (*facts.runs(arm, "search"), *facts.runs(arm)):
            yield [
                f"{arm} {row['phase']} {row['trial']}",
                row["seed"],
                _tuned(facts, row),
                row["outcome"],
                number(value_of(row, facts.validation)),
                number(value_of(row, facts.test)),
                row["run_id"],
            ]


def _tuned(facts: Facts, row: Row) -> str:
    values = ((key, float(row[f"param.{key}"])) for key in facts.study["space"])
    return ", ".join(f"{key} = {setting(value)}" for key, value in values)

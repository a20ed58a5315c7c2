"""The tables of the example, every cell as it must be printed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import numpy as np
from scipy.stats import binomtest, trim_mean

from example.facts import Facts, Row, compare, cost, holm, shifts
from example.spelling import NONE, interval, number, plus_minus, setting


def markdown(columns: str, rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; columns are separated by semicolons."""
    names = columns.split("; ")
    rule = ["---", *["---:"] * (len(names) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (names, rule, *rows))


def results(facts: Facts) -> str:
    """Return the arms' scores."""
    rows = []
    for arm in facts.arms:
        scores = facts.scores(arm)
        # All resamples: few enough of five.
        resamples = np.array(list(itertools.product(scores, repeat=len(scores))))
        means = np.sort(trim_mean(resamples, 0.25, axis=1))
        cut = math.floor(0.025 * len(means))
        rows.append(
            [
                arm,
                f"{len(scores)}/{len(facts.runs(arm))}",
                plus_minus(scores.mean(), scores.std(ddof=1)),
                number(np.median(scores)),
                interval(trim_mean(scores, 0.25), means[cut], means[-1 - cut]),
                number(scores.min()),
            ]
        )
    return markdown("arm; n_ok/n; mean ± sd; median; IQM; best", rows)


def comparison(facts: Facts) -> str:
    """Return the other arms against the baseline."""
    pairs = [(arm, facts.baseline) for arm in facts.others]
    found = [compare(facts, *pair) for pair in pairs]
    adjusted = holm([each["p"] for each in found])
    rows = []
    for (a, b), each, p_holm in zip(pairs, found, adjusted, strict=True):
        smaller = sum(other["p"] < each["p"] for other in found)
        level = 0.05 / (len(found) - min(smaller, sum(p <= 0.05 for p in adjusted)))
        ends = shifts(facts.scores(a), facts.scores(b), level)
        rows.append(
            [
                f"{a} against {b}",
                interval(each["wins"], each["low"], each["high"], places=2),
                f"{each['p']:.4f}",
                f"{p_holm:.4f}",
                f"{each['least']:.4f}",
                interval(each["difference"], *ends, sign="+"),
                number(each["g"], sign="+"),
            ]
        )
    return markdown("arms A against B; P(A < B); p; p (Holm); least p; A − B; g", rows)


def metrics(facts: Facts) -> str:
    """Return means and standard deviations of the other metrics."""
    columns = (facts.validation, facts.kid, facts.spread)
    rows = [
        [
            arm,
            *(plus_minus(v.mean(), v.std(ddof=1)) for v in (facts.values(arm, c) for c in columns)),
        ]
        for arm in facts.arms
    ]
    return markdown("arm; validation FID; test KID; test spread", rows)


def failures(facts: Facts) -> str:
    """Return counts with Wilson's intervals."""
    rows = []
    for arm in facts.arms:
        runs, search = facts.runs(arm), facts.runs(arm, "search")
        cells = []
        for outcome in ("diverged", "collapsed", "failed"):
            count = sum(row["outcome"] == outcome for row in runs)
            low, high = binomtest(count, len(runs)).proportion_ci(method="wilson")
            cells.append(f"{count}/{len(runs)} [{100 * low:.0f}, {100 * high:.0f}]")
        counts = {
            kind: sum(row["outcome"] == kind for row in search)
            for kind in ("diverged", "collapsed", "failed", "pruned")
        }
        named = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        rows.append([arm, *cells, f"{named or 0} of {len(search)}"])
    return markdown("arm; diverged; collapsed; failed; lost in the search", rows)


def costs(facts: Facts) -> str:
    """Return parameters, seconds and the search's size."""
    rows = []
    for arm in facts.arms:
        generator, discriminator, seconds, trials, images, searched = cost(arm, facts)
        sizes = [f"{size:,.0f}" for size in (generator, discriminator)]
        rows.append(
            [arm, *sizes, number(seconds), f"{trials:.0f}", f"{images:,.0f}", number(searched)]
        )
    return markdown(
        "arm; parameters G; parameters D; s per run; search runs; search images; search s", rows
    )


def settings(facts: Facts) -> str:
    """Return what was tuned."""
    rows = []
    for arm in facts.arms:
        for key, space in facts.study["space"].items():
            searched = (
                f"[{setting(space['low'])}, {setting(space['high'])}]" + " log" * space["log"]
            )
            first, chosen = (facts.runs(arm, p)[0][f"param.{key}"] for p in ("search", "confirm"))
            rows.append([arm, key, searched, setting(float(first)), setting(float(chosen))])
    return markdown("arm; parameter; searched; trial 0; confirmed", rows)


def runs(facts: Facts) -> str:
    """Return every run."""

    def cell(row: Row, column: str) -> str:
        return number(float(row[column])) if row[column] else NONE

    rows = []
    for arm in facts.arms:
        for row in (*facts.runs(arm, "search"), *facts.runs(arm)):
            tuned = [
                f"{key} = {setting(float(row[f'param.{key}']))}" for key in facts.study["space"]
            ]
            rows.append(
                [
                    f"{arm} {row['phase']} {row['trial']}",
                    row["seed"],
                    ", ".join(tuned),
                    row["outcome"],
                    cell(row, facts.validation),
                    cell(row, facts.test),
                    row["run_id"],
                ]
            )
    return markdown("run; seed; settings; outcome; validation FID; test FID; MLflow run", rows)

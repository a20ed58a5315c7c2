"""What the example's sentences state, by the names of the templates' slots."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from example import tables
from example.facts import Facts, compare, cost, curves, ends_of_tried, late_changes, shifts
from example.spelling import interval, number, plus_minus, setting

SIZES = {"mnist": (50_000, 10_000, 10_000)}  # training, validation and test images
FEWEST_FOR_IMPORTANCE = 20


def slots(facts: Facts) -> dict[str, str]:
    """Return the text of every slot; of two arms of five confirm runs that all have scores."""
    for arm in facts.arms:
        if len(facts.arms) != 2 or len(facts.scores(arm)) != 5 or np.isinf(facts.scores(arm)).any():
            raise SystemExit("the check knows two arms of five confirm runs, all with a score")
    study, first = facts.study, facts.runs(facts.arms[0])[0]
    images, share = study["budget"]["images"], study["search"]["budget_share"]
    train, validation, test = SIZES[first["param.dataset"]]
    facts_of_runs = {
        name: first[f"param.{key}"]
        for name, key in {
            "dataset": "dataset",
            "extractor": "evaluate.extractor",
            "sha": "evaluate.extractor_sha256",
            "features": "evaluate.num_features",
            "subsets": "evaluate.kid_subsets",
            "accuracy": "evaluate.extractor_accuracy",
            "device": "device",
            "threads": "threads",
            "precision": "precision",
        }.items()
    }
    named = ("python", "torch", "torchmetrics", "scipy", "optuna", "mlflow")
    found = {
        "question": study["question"],
        "question_with_images": study["question"].replace(", ", f" ({images:,}), ", 1),
        "study": first["study"],
        "metric": facts.test.removeprefix("metric."),
        "validation_metric": facts.validation.removeprefix("metric."),
        "kid_metric": facts.kid.removeprefix("metric."),
        "spread_metric": facts.spread.removeprefix("metric."),
        "answer": answer(facts),
        "yes": yes(facts),
        "arms": "; ".join(facts.arms),
        "arms_listed": ", ".join(facts.arms),
        "baseline": facts.baseline,
        "floor": number(facts.floor),
        "tests": f"{len(facts.others)} test{'s' * (len(facts.others) != 1)}",
        "keys": ", ".join(study["space"]),
        "space": "; ".join(
            f"{key} log-uniform in [{each['low']:g}, {each['high']:g}]"
            for key, each in study["space"].items()
        ),
        "fixed": ", ".join(f"{key} = {value}" for key, value in study["fixed"].items()),
        "trials": _same(facts, "search"),
        "seeds": _same(facts, "confirm"),
        "images": f"{images:,}",
        "trial_images": f"{images * share:,.0f}",
        "share": f"{100 * share:.0f}",
        "times": first["param.evaluate.times"],
        "samples": f"{int(first['param.evaluate.samples']):,}",
        "subset_size": f"{int(first['param.evaluate.kid_subset_size']):,}",
        "train": f"{train:,}",
        "validation": f"{validation:,}",
        "test": f"{test:,}",
        "versions": ", ".join(f"{name} {first[f'version.{name}']}" for name in named),
        "commit": first["mlflow.source.git.commit"],
        "best_run": min(facts.runs(facts.arms[0]), key=lambda row: float(row[facts.test]))[
            "run_id"
        ],
        "score_alt": "; ".join(_range(facts, arm) for arm in facts.arms),
        "difference_alt": "; ".join(f"{arm} {_difference(facts, arm)}" for arm in facts.others),
        "rates_alt": "; ".join(_confirmed(facts, arm) for arm in facts.arms),
        "curve_alt": "; ".join(_first_and_last(facts, arm) for arm in facts.arms),
        "search_alt": "; ".join(_search(facts, arm) for arm in facts.arms),
        "strip_alt": "; ".join(_median_run(facts, arm) for arm in facts.arms),
        "withheld": withheld(facts),
        "threats": "\n".join(f"- {each}" for each in threats(facts)),
        "so_far": so_far(facts),
        "runs_confirm": _listed(facts, "confirm"),
        "runs_search": _listed(facts, "search"),
        "runs_all": _listed(facts, "confirm", "search"),
        "runs_compared": "; ".join(
            f"{arm} against {facts.baseline}: {_ids(facts, [arm, facts.baseline], 'confirm')}"
            for arm in facts.others
        ),
    }
    for name in ("results", "comparison", "metrics", "failures", "costs", "settings", "runs"):
        found[f"table_{name}"] = getattr(tables, name)(facts)
    return found | facts_of_runs


def answer(facts: Facts) -> str:
    """Return the sentence that compares the two arms."""
    (a,), b = facts.others, facts.baseline
    found = compare(facts, a, b)
    means = [plus_minus(s.mean(), s.std(ddof=1)) for s in (facts.scores(a), facts.scores(b))]
    return (
        f"{_verdict(facts)}: test FID {means[0]} against {means[1]}, median difference "
        f"{_difference(facts, a)}; P({a} < {b}) = "
        f"{interval(found['wins'], found['low'], found['high'], places=2)}, exact Mann-Whitney "
        f"p = {found['p']:.4f} (least attainable {found['least']:.4f})."
    )


def _difference(facts: Facts, arm: str) -> str:
    """Return an arm's difference to the baseline with its interval, of a single comparison."""
    a, b = facts.scores(arm), facts.scores(facts.baseline)
    found = compare(facts, arm, facts.baseline)["difference"]
    return interval(found, *shifts(a, b, 0.05), sign="+")


def _verdict(facts: Facts) -> str:
    (a,), b = facts.others, facts.baseline
    found = compare(facts, a, b)
    if found["p"] >= 0.05:
        sizes = f"{len(facts.scores(a))} and {len(facts.scores(b))}"
        return f"{a} against {b} is not resolved with {sizes} runs"
    return f"{a} beats {b}" if found["wins"] > 0.5 else f"{a} loses to {b}"


def yes(facts: Facts) -> str:
    """Return the answer in a word."""
    verdict = _verdict(facts)
    return "Not resolved" if "not resolved" in verdict else "Yes" if "beats" in verdict else "No"


def threats(facts: Facts) -> Iterator[str]:
    """Yield the threats to validity, in order."""
    seeds = len(facts.runs(facts.arms[0]))
    yield (
        f"Few seeds: {seeds} runs in an arm. The smallest attainable p between two such arms is "
        f"{2 / math.comb(2 * seeds, seeds):.4f}, and the bootstrap intervals of interquartile "
        "means are too narrow: in simulations, nominal 95 % ones of five runs cover 90 %."
    )
    for arm in facts.arms:
        better, runs, p_value, change = still_improving(facts, arm)
        by = f"by {-change:.0f} % (median) after 80 % of the training"
        if change < -5 and p_value <= 0.05:
            yield (
                f"Budget: the validation FID of {arm} was still improving, {by} (better in "
                f"{better} of {runs} runs, one-sided sign test p = {p_value:.4f}); a longer budget "
                "may change the order of the arms."
            )
        elif change < -5:
            yield (
                f"Budget: whether the validation FID of {arm} was still improving cannot be told: "
                f"it became better {by}, in {better} of {runs} runs (one-sided sign test "
                f"p = {p_value:.4f})."
            )
    for arm in facts.arms:
        for key, side in ends_of_tried(facts, arm).items():
            tried = len(set(facts.values(arm, f"param.{key}", "search")))
            value = setting(float(facts.runs(arm)[0][f"param.{key}"]))
            yield (
                f"Range: {arm}'s confirmed {key} = {value} is the {side} of {tried} tried (where a "
                f"parameter has no effect, the best trial is at either end in {200 / tried:.0f} % "
                "of searches); better settings may lie beyond."
            )
    costs = {arm: cost(arm, facts) for arm in facts.arms}
    for what, each in (
        ("seconds of training per run", {arm: found[2] for arm, found in costs.items()}),
        ("trainable parameters", {arm: sum(found[:2]) for arm, found in costs.items()}),
    ):
        most, least = max(each, key=each.__getitem__), min(each, key=each.__getitem__)
        if each[most] > 1.5 * each[least]:
            yield (
                f"Unequal compute: {most} takes {each[most] / each[least]:.1f} times the {what} of "
                f"{least}; the budget was {facts.study['budget']['images']:,} real images."
            )
    yield (
        f"One search: settings were chosen among {_same(facts, 'search')} trials per arm, each of "
        f"1 training seed at {100 * facts.study['search']['budget_share']:.0f} % of the full "
        "budget. Another search could have chosen others; the intervals do not include this."
    )
    for arm in facts.arms:
        best = np.sort(facts.values(arm, facts.validation, "search"))
        sd = facts.values(arm, facts.validation).std(ddof=1)
        if best[1] - best[0] < sd:
            yield (
                f"Close call in {arm}'s search: the two best trials differ by "
                f"{number(best[1] - best[0])} in validation FID, less than the spread of its "
                f"confirm runs over seeds ({number(sd)})."
            )


def still_improving(facts: Facts, arm: str) -> tuple[int, int, float, float]:
    """Return runs that became better, all runs, the sign test's p, and the median change in %."""
    changes = late_changes(facts, arm)
    better, runs = sum(change < 0 for change in changes), len(changes)
    outcomes = itertools.product((0, 1), repeat=runs)
    return (
        better,
        runs,
        float(np.mean([sum(each) >= better for each in outcomes])),
        float(np.median(changes)),
    )


def so_far(facts: Facts) -> str:
    """Return the README's sentence on what limits the answer."""
    parts = []
    for arm in facts.arms:
        _, _, p_value, change = still_improving(facts, arm)
        if change < -5 and p_value <= 0.05:
            parts.append(f"the {arm} arm was still improving")
    for arm in facts.arms:
        ends = ends_of_tried(facts, arm)
        if len(ends) == len(facts.study["space"]) and len(set(ends.values())) == 1:
            side = next(iter(ends.values()))
            parts.append(f"{arm}'s confirmed rates are the {side} that its trials tried")
    seconds = {arm: cost(arm, facts)[2] for arm in facts.arms}
    most = max(seconds, key=seconds.__getitem__)
    ratio = seconds[most] / min(seconds.values())
    parts.append(f"and a {most} run takes {ratio:.1f} times as long")
    text = ", ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def withheld(facts: Facts) -> str:
    """Return why there is no importance of parameters."""
    counts = {arm: len(facts.values(arm, facts.validation, "search")) for arm in facts.arms}
    few = [f"{arm} has {count}" for arm, count in counts.items() if count < FEWEST_FOR_IMPORTANCE]
    return (
        f"The importance of parameters takes {FEWEST_FOR_IMPORTANCE} scored trials of an arm and "
        f"is withheld: {', '.join(few)}."
    )


def _same(facts: Facts, phase: str) -> str:
    """Return the number of runs of a phase, which must be that of the study in every arm."""
    planned = facts.study["search"]["trials_per_arm"]
    if phase == "confirm":
        planned = facts.study["confirm"]["seeds"]
    for arm in facts.arms:
        if len({row["seed"] for row in facts.runs(arm, phase)}) != planned:
            raise SystemExit(f"{arm}: not {planned} {phase} runs")
    return str(planned)


def _ids(facts: Facts, arms: list[str], *phases: str) -> str:
    rows = [row for arm in arms for phase in phases for row in facts.runs(arm, phase)]
    return ", ".join(f"`{row['run_id'][:8]}`" for row in rows)


def _listed(facts: Facts, *phases: str) -> str:
    return "; ".join(f"{arm}: {_ids(facts, [arm], *phases)}" for arm in facts.arms)


def _range(facts: Facts, arm: str) -> str:
    scores = facts.scores(arm)
    ends = f"{number(scores.min())} to {number(scores.max())}"
    return f"{arm}: {ends} over {len(scores)} runs"


def _first_and_last(facts: Facts, arm: str) -> str:
    middle = np.median([[value for _, value in curve] for curve in curves(facts, arm)], axis=0)
    return f"{arm}: {number(middle[0])} to {number(middle[-1])}"


def _search(facts: Facts, arm: str) -> str:
    found = facts.values(arm, facts.validation, "search")
    return f"{arm}: {number(found[0])} after 1, {number(found.min())} after {len(found)}"


def _median_run(facts: Facts, arm: str) -> str:
    rows = sorted(facts.runs(arm), key=lambda row: float(row[facts.test]))
    return f"{arm}, seed {rows[len(rows) // 2]['seed']}"


def _confirmed(facts: Facts, arm: str) -> str:
    best = min(facts.runs(arm, "search"), key=lambda row: float(row[facts.validation]))
    chosen = facts.runs(arm)[0]
    if any(best[f"param.{key}"] != chosen[f"param.{key}"] for key in facts.study["space"]):
        raise SystemExit(f"{arm}: the best trial was not confirmed")
    rates = (f"{key} = {setting(float(chosen[f'param.{key}']))}" for key in facts.study["space"])
    return f"{arm}: {', '.join(rates)}, {number(float(best[facts.validation]))}"

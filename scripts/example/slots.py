"""The text of every slot of the templates."""

from __future__ import annotations

from example import plan, tables, words
from example.facts import Facts, ranges
from example.ladder import in_words
from example.spelling import number
from example.threats import threats

SIZES = {"mnist": (50_000, 10_000, 10_000)}  # training, validation and test images
SOFTWARE = ("python", "torch", "torchmetrics", "scipy", "optuna", "mlflow")
FACTS = {
    "dataset": "dataset",
    "extractor": "evaluate.extractor",
    "sha": "evaluate.extractor_sha256",
    "features": "evaluate.num_features",
    "subsets": "evaluate.kid_subsets",
    "subset_size": "evaluate.kid_subset_size",
    "accuracy": "evaluate.extractor_accuracy",
    "judge": "evaluate.judge",
    "judge_sha": "evaluate.judge_sha256",
    "judge_accuracy": "evaluate.judge_accuracy",
    "times": "evaluate.times",
    "workers": "machine.workers",
}
MIXED = {  # what may differ between runs, so that each value is named
    "device": "param.device",
    "threads": "param.threads",
    "precision": "param.precision",
    "commit": "mlflow.source.git.commit",
}
TABLES = (
    *("results", "comparison", "axes", "views", "metrics", "judge"),
    *("failures", "costs", "settings", "runs"),
)


def slots(facts: Facts) -> dict[str, str]:
    """Return what the runs say in every slot."""
    return {
        **_study(facts),
        **_evaluation(facts),
        **{name: facts.param(key) for name, key in FACTS.items()},
        **words.pictures(facts),
        **plan.slots(facts),
        **{f"table_{name}": getattr(tables, name)(facts) for name in TABLES},
        "answer": words.answer(facts),
        "yes": words.yes(facts),
        "so_far": words.so_far(facts),
        "notices": words.notices(facts),
        "threats": "\n".join(f"- {each}" for each in threats(facts)),
        "as_much_as": _as_much_as(facts),
        "runs_confirm": _labels(facts, "confirm"),
        "runs_search": _labels(facts, "search"),
        "runs_all": _labels(facts, "search", "confirm"),
        "best_run": facts.runs(facts.arms[0])[int(facts.scores(facts.arms[0]).argmin())]["run_id"],
        "versions": ", ".join(f"{name} {_all(facts, f'version.{name}')}" for name in SOFTWARE),
        **{name: _all(facts, column) for name, column in MIXED.items()},
    }


def _study(facts: Facts) -> dict[str, str]:
    study = facts.study
    images, search = study["budget"]["images"], study["search"]
    return {
        "question": study["question"],
        "question_with_images": study["question"].replace(", ", f" ({images:,}), ", 1),
        "study": facts.rows[0]["study"],
        "arms_listed": ", ".join(facts.arms),
        "baseline": facts.baseline,
        "keys": ", ".join(study["space"]),
        "space": "; ".join(
            f"{key} log-uniform in [{each['low']:g}, {each['high']:g}]"
            for key, each in study["space"].items()
        ),
        "fixed": ", ".join(f"{key} = {value}" for key, value in study["fixed"].items()),
        "trials": str(search["trials_per_arm"]),
        "seeds": str(study["confirm"]["seeds"]),
        "images": f"{images:,}",
        "trial_images": f"{images * search['budget_share']:,.0f}",
        "margin": f"{facts.margin:g}",
    }


def _evaluation(facts: Facts) -> dict[str, str]:
    train, validation, test = SIZES[facts.param("dataset")]
    return {
        "metric": facts.test,
        "floor": number(facts.floor("fid")[0]),
        "samples": f"{facts.samples:,}",
        "train": f"{train:,}",
        "validation": f"{validation:,}",
        "test": f"{test:,}",
    }


def _as_much_as(facts: Facts) -> str:
    if any(in_words(facts, facts.scores(arm).mean()) for arm in facts.arms):
        return " As much as: the damage to real images that costs as much on this ruler."
    return ""


def _labels(facts: Facts, *phases: str) -> str:
    """Return the runs of some phases as the table of runs calls them."""
    return "; ".join(
        f"{arm} {phase} {ranges([int(row['trial']) for row in facts.runs(arm, phase)])}"
        for arm in facts.arms
        for phase in phases
    )


def _all(facts: Facts, column: str) -> str:
    return " / ".join(sorted({row[column] for row in facts.all_rows}))


def only_shown(text: str, facts: Facts) -> dict[str, str]:
    """Return what no run tells, as a report has it; "?" where it has not the right form."""
    places = plan.places(text, facts)
    return {name: found[1] if found else "?" for name, found in places.items()}

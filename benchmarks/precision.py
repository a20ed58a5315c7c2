"""Do runs in bfloat16 end at the scores that runs in float32 end at?

Trains the default mlp and dc on MNIST from equal seeds in either precision, scores their final
samples against test images by every default metric, and asks by two one-sided paired t tests
(Schuirmann 1987) whether the mean difference is within 10 % of the float32 mean.

    HARNESS_DATA=... python benchmarks/precision.py --workers 2

Runs that stand in the file of results already are not trained again.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hardware import hardware, versions
from rich.console import Console
from rich.table import Table
from scipy import stats

from harness.data import load_dataset
from harness.evaluate import EvaluateConfig
from harness.records.workspace import Workspace
from harness.run.bench import Bench
from harness.run.execution import Execution
from harness.run.loop import train
from harness.systems import draw_inputs, generate, parse_config

IMAGES = {"mlp": 150_000, "dc": 80_000}
PRECISIONS = ("float32", "bfloat16")
MARGIN = 0.1  # of the mean score in float32
LEVEL = 0.05  # of either one-sided test


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run."""

    architecture: str
    seed: int
    precision: str


def bench_in(precision: str) -> Bench:
    workspace = Workspace.locate()
    execution = Execution(device="cpu", threads=1, precision=precision)  # type: ignore[arg-type]
    return Bench.set_up(
        load_dataset("mnist", workspace.data_dir),
        EvaluateConfig(),
        execution=execution,
        cache_dir=workspace.cache,
    )


def run(job: Job) -> dict[str, Any]:
    """Train one run to its end and return its scores."""
    bench = bench_in(job.precision)
    config = parse_config(
        {
            "architecture": job.architecture,
            "seed": job.seed,
            "budget": {"images": IMAGES[job.architecture]},
        },
        "benchmark",
    )
    started = time.perf_counter()
    system = bench.start(config)
    for _ in train(system, bench.part, milestones=1):
        pass
    seconds = time.perf_counter() - started
    generator = system.networks[system.sampled(config)].eval()
    inputs = draw_inputs(config, system.facts, bench.evaluator.num_samples, config.seed)
    scores = bench.evaluator.score(generate(generator, inputs), "test", final=True)
    return {**vars(job), "seconds": round(seconds, 1), "scores": scores}


def start() -> None:
    torch.set_num_threads(1)


def equivalence(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Test whether two precisions' means differ by less than the margin.

    Args:
        ours: Scores in bfloat16, by seed.
        theirs: Scores in float32 from the same seeds.

    Returns:
        Means, sds, the mean difference as a share of the float32 mean with its 90 % interval, and
        the larger p of the two one-sided tests; None where the mean is 0 or nothing varies.
    """
    a, b = np.array(ours), np.array(theirs)
    differences = a - b
    facts: dict[str, Any] = {
        "float32": [float(b.mean()), float(b.std(ddof=1))],
        "bfloat16": [float(a.mean()), float(a.std(ddof=1))],
    }
    bound = MARGIN * abs(b.mean())
    error = differences.std(ddof=1) / math.sqrt(len(a))
    if bound == 0 or error == 0:
        same = bool(np.all(differences == 0))
        return facts | {"difference": None, "interval": None, "p": 0.0 if same else None}
    degrees = len(a) - 1
    p = max(
        stats.t.sf((differences.mean() + bound) / error, degrees),
        stats.t.cdf((differences.mean() - bound) / error, degrees),
    )
    half = stats.t.ppf(1 - LEVEL, degrees) * error
    scale = abs(b.mean())
    return facts | {
        "difference": float(differences.mean() / scale),
        "interval": [float((differences.mean() + s * half) / scale) for s in (-1, 1)],
        "p": float(p),
    }


def analyse(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return architecture -> key of a figure -> result of its tests."""
    results: dict[str, dict[str, Any]] = {}
    for architecture in IMAGES:
        by_seed: dict[str, dict[int, Mapping[str, float]]] = {each: {} for each in PRECISIONS}
        for each in runs:
            if each["architecture"] == architecture:
                by_seed[each["precision"]][each["seed"]] = each["scores"]
        seeds = sorted(set.intersection(*(set(scores) for scores in by_seed.values())))
        if len(seeds) < 2:
            continue
        results[architecture] = {
            key: equivalence(
                *(
                    [by_seed[precision][seed][key] for seed in seeds]
                    for precision in PRECISIONS[::-1]
                )
            )
            for key in by_seed["float32"][seeds[0]]
        } | {"seeds": seeds}
    return results


def show(results: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    for architecture, figures in results.items():
        table = Table(title=f"{architecture}, {len(figures['seeds'])} seeds")
        for column in ("figure", "float32", "bfloat16", "difference", "90 % interval", "p"):
            table.add_column(column)
        for key, each in figures.items():
            if key == "seeds":
                continue
            spread = ("{:.4g} ± {:.2g}".format(*each[side]) for side in PRECISIONS)
            if each["difference"] is None:
                table.add_row(key, *spread, "", "", "equal" if each["p"] == 0 else "no test")
                continue
            low, high = each["interval"]
            table.add_row(
                key,
                *spread,
                f"{each['difference']:+.1%}",
                f"{low:+.1%} to {high:+.1%}",
                f"{each['p']:.2g}" + ("" if each["p"] < LEVEL else "  not shown"),
            )
        console.print(table)


def save(report: Mapping[str, Any], file: Path) -> None:
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(report, indent=1) + "\n")
    temporary.replace(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10, help="runs a side")
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/precision.json"))
    args = parser.parse_args()
    console = Console()
    report: dict[str, Any] = {"runs": []}
    if args.output.exists():
        report = json.loads(args.output.read_text())
    done = {(each["architecture"], each["seed"], each["precision"]) for each in report["runs"]}
    jobs = [
        Job(architecture=architecture, seed=seed, precision=precision)
        for seed in range(1, args.seeds + 1)
        for architecture in IMAGES
        for precision in PRECISIONS
        if (architecture, seed, precision) not in done
    ]
    if jobs:
        bench_in("float32")  # fills the cache before processes share it
    context = multiprocessing.get_context("spawn")
    with context.Pool(args.workers, initializer=start, maxtasksperchild=8) as pool:
        for index, result in enumerate(pool.imap(run, jobs), start=1):
            report["runs"].append(result)
            report |= {
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "images": IMAGES,
                "margin": MARGIN,
                "hardware": hardware(torch.device("cpu")),
                "versions": versions(),
            }
            save(report, args.output)
            console.print(f"{index}/{len(jobs)} {result}", highlight=False, soft_wrap=True)
    save(report | {"results": analyse(report["runs"])}, args.output)
    show(analyse(report["runs"]), console)


if __name__ == "__main__":
    main()

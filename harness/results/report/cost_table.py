"""The table of what every arm costs."""

from __future__ import annotations

from harness.results.report.analysis import Analysis
from harness.results.report.arm import ArmAnalysis
from harness.results.report.records import FLOPS, LOAD, SECONDS
from harness.results.report.table import Table, row
from harness.results.spelling import NONE, number, operations, plus_minus
from harness.statistics import finite_or_none


def cost(analysis: Analysis) -> Table:
    """Return the table of parameters, operations, seconds, and what the search took."""
    rows = []
    for arm in analysis.arms:
        sizes = arm.num_parameters
        mean, sd = map(finite_or_none, arm.metric_mean(SECONDS))
        rows.append(
            row(
                arm.name,
                f"{sum(sizes.values()):,}" if sizes else NONE,
                ", ".join(f"{name} {size:,}" for name, size in sizes.items()) or NONE,
                _flops(arm),
                plus_minus(mean, sd),
                number(finite_or_none(arm.metric_mean(LOAD)[0])),
                _at_once(arm),
                str(len(arm.search)) if arm.search else NONE,
                f"{arm.search_images:,}" if arm.search else NONE,
                number(arm.search_seconds) if arm.search else NONE,
                runs=(*arm.confirm, *arm.search),
            )
        )
    return Table(
        name="cost",
        caption=(
            "What every arm costs: trainable parameters; FLOPs, the matrix products and "
            "convolutions of training, and seconds of it per confirm run (mean ± sd over runs; "
            "evaluation excluded); and what its search took. Equal numbers of images are not equal "
            "compute. Seconds depend on what else the machine did: load is that of all its "
            "processes per core, 1 where every core is busy, mean over the runs; at once is how "
            "many workers trained side by side, of how many threads each."
        ),
        columns=(
            "arm",
            "parameters",
            "by network",
            "FLOPs per run",
            "s per run",
            "load",
            "at once",
            "search runs",
            "search images",
            "search s",
        ),
        rows=tuple(rows),
    )


def _flops(arm: ArmAnalysis) -> str:
    flops = finite_or_none(arm.metric_mean(FLOPS)[0])
    return NONE if flops is None else operations(flops)


def _at_once(arm: ArmAnalysis) -> str:
    """Return workers × threads of the confirm runs; early records name no workers."""
    found = {
        f"{run.params['machine.workers']} × {run.params.get('threads', '?')}"
        for run in arm.confirm
        if "machine.workers" in run.params
    }
    return ", ".join(sorted(found)) or NONE

"""Several workers side by side, each a process of its own."""

from __future__ import annotations

import multiprocessing
import queue
import signal
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import torch

from harness.errors import HarnessError, recording
from harness.plugins import check_plugins, load_plugins
from harness.run.execution import Execution, count_cores
from harness.signals import deaf_to_interrupts
from harness.work.display import Event
from harness.work.plan import Plan, set_up_bench
from harness.work.worker import Worker

POLL_SECONDS = 0.5
MEMORY_FACTOR = 1.5  # what a worker may need, in units of what this process takes


def check_workers(asked: int | None, execution: Execution) -> None:
    """Raise HarnessError if so many workers need more cores than there are."""
    if execution.device == "cpu" and asked is not None and asked > (most := _most(execution)):
        raise HarnessError(
            f"--workers {asked}: with {execution.threads} thread(s) each they need "
            f"{asked * execution.threads} cores, and here are {count_cores()}; allowed are auto "
            f"and 1 to {most}"
        )


def count_workers(asked: int | None, execution: Execution, cells: int) -> int:
    """Return how many workers to start, no more than there is work for.

    Args:
        asked: None: one for each core that memory allows; one alone on a GPU.
        execution: How runs are executed.
        cells: What is left to do.
    """
    if execution.device != "cpu":
        return asked or 1
    if asked is None:
        needed = MEMORY_FACTOR * psutil.Process().memory_info().rss
        asked = min(_most(execution), int(free_memory() / needed))
    return max(1, min(asked, cells))


def _most(execution: Execution) -> int:
    """Return for how many workers there are cores; one goes always, even with too many threads."""
    return max(1, count_cores() // execution.threads)


CONTAINER = {  # limit, use, and the part of the use that is given back when memory runs short
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
}
CGROUP = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Return bytes that new processes may take, within a container's limit too."""
    free: int = psutil.virtual_memory().available
    for limit, use, reclaimable in CONTAINER.values():
        try:
            total, used = (int((CGROUP / name).read_text()) for name in (limit, use))
            lines = (CGROUP / use).with_name("memory.stat").read_text().splitlines()
        except (OSError, ValueError):  # no container of this kind, or one without a limit
            continue
        stat = dict(line.split() for line in lines)
        free = min(free, total - used + int(stat.get(reclaimable, 0)))
    return free


def work_side_by_side(plan: Plan, workers: int, tell: Callable[[Event | None], None]) -> None:
    """Work in several processes; return when nothing is left to do."""
    context = multiprocessing.get_context("spawn")
    events: Any = context.Queue()
    processes = [
        context.Process(target=_worker_process, args=(plan, index, events))
        for index in range(workers)
    ]
    try:
        with deaf_to_interrupts():
            for process in processes:
                process.start()
        _tell_until_ended(processes, events, tell)
    except BaseException:
        for process in processes:
            process.terminate()
        _tell_until_ended(processes, events, tell)
        raise
    codes = [process.exitcode for process in processes]
    if all(codes):
        raise HarnessError(
            f"all workers stopped early (exit codes {codes}); the same command goes on"
        )


def _tell_until_ended(
    processes: Sequence[BaseProcess], events: Any, tell: Callable[[Event | None], None]
) -> None:
    """Tell news, or that there is none, until every process has ended.

    One with unread news could not end.
    """
    while any(process.is_alive() for process in processes) or not events.empty():
        try:
            tell(events.get(timeout=POLL_SECONDS))
        except queue.Empty:
            tell(None)


def _worker_process(plan: Plan, index: int, events: Any) -> None:
    """Work as one of several processes, until done or told to end by the parent."""
    study, execution = plan.definition.study, plan.definition.execution
    signal.signal(signal.SIGTERM, _interrupt)
    torch.set_num_threads(plan.definition.execution.threads)
    try:
        with recording(f"study {plan.name!r}"):
            load_plugins(plan.plugins)
            check_plugins(plan.definition.plugins, f"study {plan.name!r}", exactly=True)
            pinned = plan.definition.pin(study)
            bench = set_up_bench(pinned, study.arms(), execution, plan.workspace)
            Worker(plan, bench, events.put, index).work()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except HarnessError as error:
        raise SystemExit(f"error: {error}") from None


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt

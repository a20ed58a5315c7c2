"""How many workers there are: never more threads than cores, never more than fit into memory."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import joblib
import pytest

import harness.work.pool
from harness.errors import HarnessError
from harness.run.execution import Execution, resolve_threads
from harness.work.pool import check_workers, count_workers, free_memory

GB = 2**30


def on(device: str = "cpu", threads: int = 1) -> Execution:
    return Execution(device=device, threads=threads)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand on eight cores with 64 GiB, in a process of 1 GiB."""
    pool = harness.work.pool
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    monkeypatch.setattr(pool, "free_memory", lambda: 64 * GB)
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=GB))
    monkeypatch.setattr(pool.psutil, "Process", lambda: process)


def count(asked: int | None, execution: Execution, cells: int = 1000) -> int:
    check_workers(asked, execution)
    return count_workers(asked, execution, cells)


def test_auto_is_a_worker_per_core(machine: None) -> None:
    assert count(None, on()) == 8
    assert count(None, on(threads=2)) == 4
    assert count(None, on(threads=3)) == 2
    assert count(None, on(threads=16)) == 1


def test_auto_stays_within_memory(machine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, workers in ((64 * GB, 8), (6 * GB, 4), (2 * GB, 1), (0, 1)):
        monkeypatch.setattr(harness.work.pool, "free_memory", lambda free=free: free)
        assert count(None, on()) == workers


def test_a_number_is_kept_or_refused(machine: None) -> None:
    assert [count(number, on()) for number in (1, 3, 8)] == [1, 3, 8]
    for number, threads in ((9, 1), (5, 2), (2, 8), (2, 16)):
        with pytest.raises(HarnessError, match=f"^--workers {number}: .* here are 8; allowed are"):
            count(number, on(threads=threads))
    assert count(1, on(threads=16)) == 1  # a study from a larger machine goes on


def test_a_gpu_has_one_unless_told_otherwise(machine: None) -> None:
    assert count(None, on("cuda", 8)) == 1
    assert count(12, on("cuda", 8)) == 12


def test_there_are_no_more_than_cells(machine: None) -> None:
    assert [count_workers(None, on(), cells) for cells in (0, 1, 3, 100)] == [1, 1, 3, 8]
    assert count_workers(6, on(), 2) == 2


def test_threads_beyond_the_cores_are_refused(machine: None) -> None:
    assert resolve_threads(None, "cpu") == 8
    assert resolve_threads(None, "cpu", workers=3) == 2
    assert resolve_threads(8, "cpu") == 8
    with pytest.raises(HarnessError, match=r"^--threads 9: here are 8 cores; allowed are 1 to 8$"):
        resolve_threads(9, "cpu")
    assert resolve_threads(9, "cuda") == 9


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = harness.work.pool
    monkeypatch.setattr(pool, "CGROUP", tmp_path)
    monkeypatch.setattr(pool.psutil, "virtual_memory", lambda: SimpleNamespace(available=20 * GB))
    assert free_memory() == 20 * GB
    (tmp_path / "memory.max").write_text(f"{8 * GB}\n")
    (tmp_path / "memory.current").write_text(f"{7 * GB}\n")
    (tmp_path / "memory.stat").write_text(f"anon {3 * GB}\ninactive_file {4 * GB}\n")
    assert free_memory() == 5 * GB  # files that were read are given back when memory runs short
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory() == 20 * GB
    older = tmp_path / "memory"
    older.mkdir()
    (older / "memory.limit_in_bytes").write_text(f"{4 * GB}\n")
    (older / "memory.usage_in_bytes").write_text(f"{2 * GB}\n")
    (older / "memory.stat").write_text(f"total_inactive_file {GB}\n")
    assert free_memory() == 3 * GB

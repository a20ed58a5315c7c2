"""Leases: what says that a cell is somebody's, for how long, and when it no longer counts."""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psutil

from harness.run.runner import Stop

LEASE_SECONDS = 90.0
RENEW_SECONDS = 15.0


class Lease:
    """This process's hold on a cell, renewed by a thread until it is ended.

    Args:
        write: Stores the lease, a JSON value, where other processes see it.
        taken_over: What a write raises once somebody else has taken the cell over.
    """

    def __init__(
        self, write: Callable[[Mapping[str, Any]], None], taken_over: type[Exception]
    ) -> None:
        self._write = write
        self._taken_over = taken_over
        self._lost = threading.Event()
        self._ended = threading.Event()
        self._renew()
        self._thread = threading.Thread(target=self._keep_renewing, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise Stop if the cell has been taken over by somebody else."""
        if self._lost.is_set():
            raise Stop("the cell was taken over")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Turn a write's word that the cell was taken over into Stop."""
        self.check()
        try:
            yield
        except self._taken_over:
            self._lost.set()
            self.check()

    def end(self) -> None:
        """Renew it no more."""
        self._ended.set()
        self._thread.join()

    def _renew(self) -> None:
        self._write(
            {
                "host": platform.node(),
                "pid": os.getpid(),
                "born": psutil.Process().create_time(),
                "until": time.time() + LEASE_SECONDS,
            }
        )

    def _keep_renewing(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            try:
                self._renew()
            except self._taken_over:
                self._lost.set()
                return
            except Exception:  # a busy or briefly unreachable database is no reason to give up
                continue


def has_ended(lease: Mapping[str, Any]) -> bool:
    """Return whether a stored lease's holder is dead (same host) or silent for too long."""
    if lease["until"] < time.time():
        return True
    if lease["host"] != platform.node():
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(abs(psutil.Process(lease["pid"]).create_time() - lease["born"]) > 1)
    return True

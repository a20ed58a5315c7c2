"""Interruptions, put off or passed over where they would leave something half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C and the word to end until the block is through."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are not ours to handle here
        return
    late: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: late.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if late:
            signal.raise_signal(late[0])


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Let processes that are started in the block ignore Ctrl-C: only this one answers it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

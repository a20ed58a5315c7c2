"""News of what takes long before the first run starts, for whoever looks on.

Preparing lies many calls deep, and nothing in between is concerned: so it is said here, and heard
where `watched` has named somebody. Elsewhere, in workers too, nobody listens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Watcher(Protocol):
    """Whoever looks on."""

    def say(self, line: str) -> None:
        """Take note of a line."""

    def advance(self, what: str, done: int, total: int) -> None:
        """Take note of how far something is; it is through when `done` is `total`."""


_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Tell a watcher what happens in the block."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def say(line: str) -> None:
    """Tell a line, such as what data were found."""
    if (watcher := _watcher.get()) is not None:
        watcher.say(line)


def advance(what: str, done: int, total: int) -> None:
    """Tell that `done` of `total` parts of something, e.g. "decoding images", are through."""
    if (watcher := _watcher.get()) is not None:
        watcher.advance(what, done, total)

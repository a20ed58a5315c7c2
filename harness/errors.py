"""The one exception a user is meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from harness.hints import hint


class HarnessError(Exception):
    """A problem its reader can solve.

    The message is one line that names key, value and what is allowed; the command line prints it
    without a traceback and exits with code 2.
    """


def unknown_name(noun: str, name: str, allowed: Iterable[str]) -> HarnessError:
    """Return the error for a name that is not `allowed`.

    It says what the name is called here, or else the nearest and all that are allowed.
    """
    names = sorted(allowed)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if known := hint(noun, name, names):
        return HarnessError(f"unknown {noun} {name!r}: {known}")
    help_ = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return HarnessError(f"unknown {noun} {name!r}{help_} (allowed: {', '.join(names) or 'none'})")


@contextmanager
def recording(what: str) -> Iterator[None]:
    """Turn errors of the records or their disk into one line (see `recording_error`)."""
    try:
        yield
    except Exception as error:
        raise recording_error(what, error) from None


STORES = ("mlflow", "optuna", "sqlalchemy", "sqlite3")


def recording_error(what: str, error: Exception) -> Exception:
    """Return the message for an error of the records or their disk that stopped something.

    Training's own errors are its results. Other errors are mistakes in code: they are returned as
    they are, for their traceback is needed.
    """
    of_stores = type(error).__module__.partition(".")[0] in STORES
    if not (of_stores or isinstance(error, OSError)):
        return error
    reason = (str(error).splitlines() or [""])[0]
    return HarnessError(f"{what} could not be recorded: {type(error).__name__}: {reason}")

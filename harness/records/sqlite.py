"""Local SQLite databases: the files behind their addresses, and what many writers need of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError

if TYPE_CHECKING:
    import sqlalchemy


def sqlite_file(url: str) -> Path | None:
    """Return the file behind a `sqlite:///` address, or None for any other."""
    prefix = "sqlite:///"
    return Path(url.removeprefix(prefix)) if url.startswith(prefix) else None


def prepare_sqlite(url: str) -> None:
    """Put a local SQLite database into WAL mode, which lets workers write side by side.

    WAL stays set in the file: a trial costs milliseconds instead of a third of a second.
    """
    import sqlite3

    if (file := sqlite_file(url)) is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(file)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.DatabaseError as error:
        raise HarnessError(f"{file} cannot be used as a database: {error}") from None
    finally:
        connection.close()


def study_names(url: str) -> list[str] | None:
    """Return the names of studies in a local database, within a shell's patience.

    It reads the file without SQLAlchemy, whose import takes long; None where it cannot.
    """
    import sqlite3
    from contextlib import closing

    file = sqlite_file(url)
    if file is None:
        return None
    if not file.exists():
        return []
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
            return [name for (name,) in database.execute("SELECT name FROM harness_studies")]
    except sqlite3.Error:
        return None


def lock_at_begin(engine: sqlalchemy.Engine) -> None:
    """Let every transaction take SQLite's write lock at its start.

    Otherwise reading a trial's state and writing a new one are two steps, between which another
    worker may do the same, and both believe that the trial is theirs.
    """
    import sqlalchemy

    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver would begin transactions later, by itself
        # With WAL, NORMAL loses no commit when a process dies, and saves a sync per write.
        connection.execute("PRAGMA synchronous=NORMAL")

    def begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    sqlalchemy.event.listen(engine, "connect", connect)
    sqlalchemy.event.listen(engine, "begin", begin)
    engine.dispose()  # connections from before the lines above

"""Where a study stands, kept as it is printed: to compute it imports torch, which takes seconds.

Whoever works on a study, or looks at it, leaves this behind in a file. It counts as long as nothing
has changed in the local database that it was computed from, nor in this package.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.files import source_digest, write_atomically
from harness.records.sqlite import sqlite_file
from harness.records.workspace import Workspace

_TRIALS = "trials JOIN studies USING (study_id)"
_OF_STUDY = "substr(study_name, 1, length(:name) + 1) = :name || '/'"
_OF_TRIAL = f"trial_id IN (SELECT trial_id FROM {_TRIALS} WHERE {_OF_STUDY}) ORDER BY 1"

# All that a study's summary is made of. Leases, which are renewed all the time, are none of it.
_SUMMED_UP = (
    "SELECT definition, closed FROM harness_studies WHERE name = :name",
    "SELECT entry FROM harness_ledger JOIN harness_studies ON study = harness_studies.id "
    "WHERE name = :name AND json_extract(entry, '$.kind') NOT IN ('displayed', 'opened') "
    "ORDER BY harness_ledger.id",
    f"SELECT study_name, trials.* FROM {_TRIALS} WHERE {_OF_STUDY} ORDER BY trial_id",
    f"SELECT * FROM trial_values WHERE {_OF_TRIAL}",
    f"SELECT * FROM trial_params WHERE {_OF_TRIAL}",
    "SELECT * FROM trial_user_attributes "
    f"WHERE key IN ('key', 'point', 'seeds', 'trial', 'result') AND {_OF_TRIAL}",
)
_LAST_SHOWN = (
    "SELECT json_extract(entry, '$.shown') FROM harness_ledger "
    "JOIN harness_studies ON study = harness_studies.id "
    "WHERE name = ? AND json_extract(entry, '$.kind') = 'displayed' "
    "ORDER BY harness_ledger.id DESC LIMIT 1"
)
_NOTE = (
    "INSERT INTO harness_ledger (study, entry) "
    "VALUES ((SELECT id FROM harness_studies WHERE name = ?), ?)"
)


@dataclass(frozen=True, kw_only=True)
class Page:
    """What is printed of a study.

    Attributes:
        title: Its name and question.
        columns: Headings of the table of its arms.
        rows: Cells, row by row.
        sentences: What comes below, a line each.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    sentences: list[str]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a study stands.

    Attributes:
        page: For people.
        values: For programs, as JSON values.
        display: The ledger's entry, as JSON values, once this is shown; None without test scores.
    """

    page: Page
    values: Mapping[str, Any]
    display: Mapping[str, Any] | None


def stamp(name: str, workspace: Workspace) -> str | None:
    """Return what changes with whatever a study's standing is computed from.

    Returns:
        A digest; None where the database is no local file, or not one of this version.
    """
    with contextlib.suppress(sqlite3.Error, OSError), _opened(workspace) as database:
        return _stamp(name, database)
    return None


def keep(name: str, workspace: Workspace, stamp: str, standing: Standing) -> None:
    """Keep a standing that was computed after this stamp was taken."""
    content = json.dumps({"stamp": stamp, **asdict(standing)}).encode()
    if not workspace.root.is_dir():  # nothing else of the study is here
        return
    with contextlib.suppress(OSError):  # it can be computed again
        write_atomically(_file(name, workspace), content)


def is_kept(name: str, workspace: Workspace, stamp: str) -> bool:
    """Return whether the standing with this stamp has been kept."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return bool(json.loads(_file(name, workspace).read_text())["stamp"] == stamp)
    return False


def kept(name: str, workspace: Workspace) -> Standing | None:
    """Return where a study stands, if that was kept and still holds; note that it is shown."""
    with (
        contextlib.suppress(sqlite3.Error, OSError, ValueError, KeyError, TypeError),
        _opened(workspace) as database,
    ):
        content = json.loads(_file(name, workspace).read_text())
        if content.pop("stamp") == _stamp(name, database):
            standing = Standing(**content | {"page": Page(**content["page"])})
            _note(name, standing.display, database)
            return standing
    return None


def forget(name: str, workspace: Workspace) -> None:
    """Keep nothing more of a study."""
    with contextlib.suppress(OSError):
        _file(name, workspace).unlink()


def _note(name: str, display: Mapping[str, Any] | None, database: sqlite3.Connection) -> None:
    """Put a display of test scores into the ledger, unless they were the last that were shown."""

    def is_news() -> bool:
        shown = database.execute(_LAST_SHOWN, (name,)).fetchone()
        return display is not None and shown != (display["shown"],)

    if is_news():
        with database:
            database.execute("BEGIN IMMEDIATE")
            if is_news():  # nobody else has noted it meanwhile
                entry = {**(display or {}), "time": time.time()}
                database.execute(_NOTE, (name, json.dumps(entry)))


def _stamp(name: str, database: sqlite3.Connection) -> str:
    digest = hashlib.sha256(_own_sources().encode())
    for query in _SUMMED_UP:
        digest.update(repr(database.execute(query, {"name": name}).fetchall()).encode())
    return digest.hexdigest()


@functools.cache
def _own_sources() -> str:
    """Return the digest of the sources as this process found them: it goes on with those."""
    return source_digest()


@contextlib.contextmanager
def _opened(workspace: Workspace) -> Iterator[sqlite3.Connection]:
    file = sqlite_file(workspace.storage_url)
    if file is None:
        raise FileNotFoundError(workspace.storage_url)
    address = f"{file.absolute().as_uri()}?mode=rw"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=60)) as database:
        yield database


def _file(name: str, workspace: Workspace) -> Path:
    short = hashlib.sha256(f"{workspace.storage_url} {name}".encode()).hexdigest()[:16]
    return workspace.cache / f"standing_{short}.json"

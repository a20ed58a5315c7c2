"""What a database keeps of whole studies: name, definition and ledger, in two tables of their own.

They lie beside Optuna's tables. Optuna's dashboard lists every Optuna study, and shows all that is
attached to one: what has no trials is none of its business.
"""

from __future__ import annotations

import json
import time
from typing import Any

import sqlalchemy
from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table, Text, column

from harness.config import parse
from harness.errors import HarnessError
from harness.plugins import check_plugins
from harness.study.definition import Definition
from harness.study.ledger import Entry, Ledger

SEPARATOR = "/"  # between the names of a study, an arm and a phase, which name an Optuna study

_METADATA = MetaData()
_STUDIES = Table(
    "harness_studies",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", String(512), unique=True, nullable=False),
    Column("definition", Text),
    Column("closed", Text),  # why nothing may be done with it
)
_LEDGER = Table(
    "harness_ledger",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("study", ForeignKey(_STUDIES.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("entry", Text, nullable=False),
)

OPTUNA_STUDIES = sqlalchemy.table("studies", column("study_id"), column("study_name"))
_ATTRIBUTES = sqlalchemy.table(
    "study_user_attributes", column("study_id"), column("key"), column("value_json")
)
_DIRECTIONS = sqlalchemy.table("study_directions", column("study_id"))


class Studies:
    """The studies of a database.

    Args:
        engine: Of the database; missing tables are made.
    """

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self._engine = engine
        try:
            _METADATA.create_all(engine)
        except sqlalchemy.exc.DBAPIError:  # another process made them between look and leap
            _METADATA.create_all(engine)
        with engine.begin() as connection:
            _take_in(connection)

    def names(self) -> list[str]:
        """Return the studies' names, oldest first."""
        with self._engine.connect() as connection:
            return list(
                connection.scalars(sqlalchemy.select(_STUDIES.c.name).order_by(_STUDIES.c.id))
            )

    def definition(self, name: str) -> Definition | None:
        """Return what `write` stored, or None for a study that is unknown or has none yet.

        Raises:
            HarnessError: The study is closed, or needs a plugin that is not there.
        """
        if (reason := self.closed(name)) is not None:
            raise HarnessError(f"study {name!r} {reason}")
        if (raw := self.raw(name)) is None:
            return None
        check_plugins(raw.get("plugins", {}), f"study {name!r}")
        return parse(Definition, raw, f"the record of study {name!r}")

    def raw(self, name: str) -> dict[str, Any] | None:
        """Return a study's definition as JSON values, whatever its state."""
        stored = self._read(name, _STUDIES.c.definition)
        return None if stored is None else json.loads(stored)

    def start(self, name: str) -> None:
        """Make a place for a new study; it is none before it has a definition.

        Raises:
            HarnessError: Another process has started it meanwhile.
        """
        try:
            with self._engine.begin() as connection:
                connection.execute(_STUDIES.insert().values(name=name))
        except sqlalchemy.exc.IntegrityError:
            for _ in range(10):  # its definition follows a moment after its name, if nothing broke
                if self.definition(name) is not None:
                    raise HarnessError(
                        f"study {name!r} has just been started by another process; the same "
                        "command takes part in it"
                    ) from None
                time.sleep(0.1)

    def write(self, name: str, definition: Definition) -> None:
        """Store all that workers need to know of a study."""
        stored = json.dumps(definition.model_dump(mode="json"))
        with self._engine.begin() as connection:
            connection.execute(_STUDIES.update().where(_is(name)).values(definition=stored))

    def note(self, name: str, entry: Entry) -> None:
        """Add an entry to a study's ledger; none is ever overwritten."""
        stored = json.dumps(entry.model_dump(mode="json"))
        with self._engine.begin() as connection:
            connection.execute(_LEDGER.insert().values(study=_id(name), entry=stored))

    def ledger(self, name: str) -> Ledger:
        """Return a study's ledger."""
        entries = (
            sqlalchemy.select(_LEDGER.c.entry)
            .join(_STUDIES)
            .where(_is(name))
            .order_by(_LEDGER.c.id)
        )
        with self._engine.connect() as connection:
            found = [json.loads(entry) for entry in connection.scalars(entries)]
        where = f"the ledger of study {name!r}"
        return Ledger(entries=tuple(parse(Entry, entry, where) for entry in found))

    def close(self, name: str, reason: str) -> None:
        """Let every command refuse a study for a reason, e.g. "is being removed: …"."""
        with self._engine.begin() as connection:
            connection.execute(_STUDIES.update().where(_is(name)).values(closed=reason))

    def closed(self, name: str) -> str | None:
        """Return why nothing may be done with a study, or None."""
        reason: str | None = self._read(name, _STUDIES.c.closed)
        return reason

    def rename(self, name: str, new: str, connection: sqlalchemy.Connection) -> None:
        """Give a study another name and open it again, as part of a transaction."""
        connection.execute(_STUDIES.update().where(_is(name)).values(name=new, closed=None))

    def delete(self, name: str) -> None:
        """Forget a study."""
        with self._engine.begin() as connection:
            connection.execute(_LEDGER.delete().where(_LEDGER.c.study == _id(name)))
            connection.execute(_STUDIES.delete().where(_is(name)))

    def _read(self, name: str, what: Column[Any]) -> Any:
        with self._engine.connect() as connection:
            return connection.scalar(sqlalchemy.select(what).where(_is(name)))


def _is(name: str) -> sqlalchemy.ColumnElement[bool]:
    return _STUDIES.c.name == name


def _id(name: str) -> sqlalchemy.ScalarSelect[int]:
    return sqlalchemy.select(_STUDIES.c.id).where(_is(name)).scalar_subquery()


def _take_in(connection: sqlalchemy.Connection) -> None:
    """Move the studies of a store of before these tables, where each was an Optuna study.

    One that an earlier version has started again since, under a name that is taken, stays there.
    """
    name, attribute = OPTUNA_STUDIES.c, _ATTRIBUTES.c
    defined = sqlalchemy.select(attribute.study_id).where(attribute.key == "definition")
    early = sqlalchemy.select(name.study_id, name.study_name).where(
        ~name.study_name.contains(SEPARATOR),
        name.study_id.in_(defined),
        name.study_name.not_in(sqlalchemy.select(_STUDIES.c.name)),
    )
    for number, study in connection.execute(early).all():
        stored = sqlalchemy.select(attribute.key, attribute.value_json).where(
            attribute.study_id == number
        )
        found = {row.key: row.value_json for row in connection.execute(stored)}
        connection.execute(
            _STUDIES.insert().values(
                name=study,
                definition=found["definition"],
                closed=json.loads(found.get("closed", "null")),
            )
        )
        for key in sorted(key for key in found if key.startswith("ledger.")):
            connection.execute(_LEDGER.insert().values(study=_id(study), entry=found[key]))
        for table in (_ATTRIBUTES, _DIRECTIONS, OPTUNA_STUDIES):
            connection.execute(sqlalchemy.delete(table).where(table.c.study_id == number))

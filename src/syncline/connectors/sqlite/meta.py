"""What a file says about itself to every stream: `_syncline_meta`, made with the first of them and taken
away with the last.

    uuid      the file's incarnation
    journal   the journal mode the file had before
    version   of the forms of all tables named _syncline_…; absent where it is 1
"""

from __future__ import annotations

import uuid

from ...errors import Corruption
from .catalog import PREFIX
from .connection import Connection
from .triggers import LOG

META = f"{PREFIX}meta"
STREAMS = f"{PREFIX}streams"
VERSION = 1
"""A table that is only added needs no new one: it is made where it is missing."""


def write_meta(db: Connection, journal: str) -> None:
    """Make it where there is none, in the open transaction. Corruption for one of a newer version."""
    if db.has(META):
        version = int(db.value(f"SELECT value FROM {META} WHERE key = 'version'") or 1)
        if version > VERSION:
            raise Corruption(
                "go on with",
                "this SQLite file",
                f"its bookkeeping is of version {version}, and this program knows version {VERSION}",
                "use the program that made it",
            )
        return
    db.execute(f"CREATE TABLE {META} (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
    db.execute(
        f"INSERT INTO {META} VALUES ('uuid', ?), ('journal', ?), ('version', ?)",
        (str(uuid.uuid4()), journal, VERSION),
    )


def read_uuid(db: Connection) -> str:
    """The file's incarnation, '' before there is one."""
    if not db.has(META):
        return ""
    return str(db.value(f"SELECT value FROM {META} WHERE key = 'uuid'"))


def drop_meta(db: Connection) -> str:
    """Take it away in the open transaction when neither a log nor a ledger is left; returns the journal
    mode to go back to, '' for none."""
    if db.has(LOG) or db.has(STREAMS) or not db.has(META):
        return ""
    journal = str(db.value(f"SELECT value FROM {META} WHERE key = 'journal'"))
    db.execute(f"DROP TABLE {META}")
    return journal


def restore_journal(db: Connection, journal: str) -> None:
    """Give the file its former journal mode back; it stays in WAL mode while others have it open."""
    if journal and journal not in ("wal", "memory", "off"):
        db.attempt(f"PRAGMA journal_mode={journal}")

"""What a file says about itself to every stream: `_syncline_meta`, made with the first of them and taken
away with the last.

    uuid      the file's incarnation
    journal   the journal mode the file had before
"""

from __future__ import annotations

import uuid

from .catalog import PREFIX
from .connection import Connection
from .triggers import LOG

META = f"{PREFIX}meta"
STREAMS = f"{PREFIX}streams"


def write_meta(db: Connection, journal: str) -> None:
    """Make it where there is none, in the open transaction."""
    if db.has(META):
        return
    db.execute(f"CREATE TABLE {META} (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
    db.execute(f"INSERT INTO {META} VALUES ('uuid', ?), ('journal', ?)", (str(uuid.uuid4()), journal))


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

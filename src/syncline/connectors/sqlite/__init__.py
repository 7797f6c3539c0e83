"""SQLite as Store, Source and Target.

In: a URL in SQLAlchemy's form, `sqlite:///relative.db` or `sqlite:////absolute.db`. Out: stores of the
contract. May import the contract, the model and errors; never another connector.

    connection  one connection to a file: explicit transactions, patience with other writers, errors
    declared    what a declared column type means, and what is declared for a canonical type
    codec       Arrow columns from stored values and back, exact or refused
    catalog     tables, keys, indexes and references as the file declares them
    store       reading, for Source and Target alike
    triggers    the change log: triggers that write every change into a table of the same file
    position    places in that log, and whether a log is the one they were taken from
    log         reads that log
    source      a file as Source
    meta        what a file says about itself to every stream
    tables      the statements that make tables and indexes at a target
    ledger      the bookkeeping of streams in a target
    apply       a target's open transaction
    target      a file as Target

One process writes a SQLite file at a time, which every algorithm here leans on: the order of the log is
the order of commits (Race 8 cannot happen), and holding the write lock means that nobody's transaction
is open.
"""

from __future__ import annotations

from .connection import parse_url
from .source import SqliteSource
from .target import SqliteTarget

__all__ = ["SqliteConnector", "SqliteSource", "SqliteTarget", "connector"]


class SqliteConnector:
    """Opens SQLite files by URL; both raise Refused for a URL that names no file."""

    def source(self, url: str) -> SqliteSource:
        """The file as a Source; it is opened at the first use."""
        return SqliteSource(parse_url(url))

    def target(self, url: str) -> SqliteTarget:
        """The file as a Target; made by `claim` or `prepare` where its folder exists."""
        return SqliteTarget(parse_url(url))


connector = SqliteConnector()

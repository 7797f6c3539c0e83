"""MariaDB 10.6 and later and MySQL 8.0 and later: Stores and Targets, and their log of changes, the binlog.

In: URLs `mysql://…` and `mariadb://…`, or an event's bytes. Out: stores of the contract; whole transactions,
their changes in columns by table. May import the contract, the model, errors and kernels, PyMySQL and
pyarrow; nothing of another room.

    session     the URL, sessions and their settings, what an error of the server means
    text        names, literals and cells as the server's SQL and LOAD DATA read them
    types       what a column's type means, and what is declared for a canonical type
    cells       cells between the server's text and Arrow
    catalog     tables, columns, keys, indexes and foreign keys as schemas
    store       reading: spans, rows by key, digests
    ddl         the statements that make tables, indexes and foreign keys
    fit         what cannot be held at all, how an existing table differs
    ledger      the bookkeeping of streams in a target, and the mark of a transaction
    writing     rows into a table: straight in, by key, through a staging table
    apply       a target's open transaction
    swap        a table in the place of another, of which only its ledger is in a transaction
    target      a database as Target
    problems    what would keep a database from being a target, found without changing it

    connection  the login of a reader of the log
    dump        the socket after the login: packets in, events out
    events      the events of the binlog as values, but for rows
    tablemap    a table as an event tells it: names, types, charsets, labels, key
    decoder     events to transactions, rows put aside by table
    charsets    how the bytes of a text are read
    codec       a column's cells to Arrow
    gtid        sets of GTIDs, of both kinds
    reader      all of it together: transactions after a place in the log

Both systems are one here, and differ where `Server` says so. Every statement that commits by itself (all
DDL, TRUNCATE) stands outside of a transaction of rows (Race 14).
"""

from __future__ import annotations

from ...connector import Source, Target
from ...errors import Refused


class MysqlConnector:
    """Opens databases by URL; nothing is loaded or connected before it is needed."""

    def source(self, url: str) -> Source:
        """The database as a source."""
        raise Refused("read from", url.partition("@")[2] or "the URL", "a target is all that it can be yet")

    def target(self, url: str) -> Target:
        """The database as a target."""
        try:
            from .target import MysqlTarget
        except ModuleNotFoundError as error:
            if error.name != "pymysql":
                raise
            raise Refused(
                "open", "the target", "PyMySQL is not installed", "run pip install 'syncline[mysql]'"
            ) from None
        return MysqlTarget(url)


connector = MysqlConnector()

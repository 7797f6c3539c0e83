"""PostgreSQL 14 and later, as a Source (logical decoding by pgoutput) and as a Target.

In: URLs `postgresql://…` as libpq reads them. Out: Sources and Targets. Imports the contract, the model,
errors, failpoints, psycopg and pyarrow; nothing of another room.

    connection   the URL, sessions and their settings, and what a server's error means
    catalog      tables, columns, keys, indexes and foreign keys as schemas
    codec        PostgreSQL's text of a cell to Arrow and back
    store        reading: spans, rows by key, digests
    source       following the log: slot, replication, pgoutput, cutter, transactions, lsn
    target       writing: claims and what surrounds them; apply (transactions), ledger, ddl
    problems     what would keep a database from being either, found without changing it
"""

from __future__ import annotations

from ...connector import Source, Target


class PostgresConnector:
    """Opens databases by URL; nothing is loaded or connected before it is needed."""

    def source(self, url: str) -> Source:
        """The database as a source."""
        from .source import PostgresSource

        return PostgresSource(url)

    def target(self, url: str) -> Target:
        """The database as a target."""
        from .target import PostgresTarget

        return PostgresTarget(url)


connector = PostgresConnector()

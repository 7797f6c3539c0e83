"""Reading a PostgreSQL database: what a Source and a Target have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Final

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from ...connector import Capabilities
from ...errors import NeedsOperator, Refused, Transient, Unfit
from ...model import (
    ARROW,
    CANONICAL,
    Column,
    Digest,
    Identity,
    Rows,
    Schema,
    Span,
    TableName,
    digest_rows,
)
from ...model.span import Bound
from . import catalog, problems, transactions
from .catalog import Member
from .codec import rows_from_csv, texts_of
from .connection import Address, Connection, Sessions
from .types import SYSTEM, native, wanted

COPY_TEXT: Final = "postgres-copy-text"
"""The lines of COPY's text format, as the server wrote them."""

SERVER_DIGEST: Final = "postgres-text-1"
"""Two 64-bit hashes (hashtextextended with the seeds 0 and 1) of the text of a row of the schema's columns
in its order, each summed up: computed by the server, the same in any PostgreSQL of the encoding UTF8."""

_MODULUS: Final = 1 << 128
_CSV: Final = sql.SQL("(FORMAT csv, FORCE_QUOTE *)")
_TEXT: Final = sql.SQL("(FORMAT text)")


class PostgresStore:
    """A database through one session, which is made when it is first needed."""

    def __init__(self, url: str) -> None:
        self._address = Address(url)
        self._sessions = Sessions(self._address)
        self._identity: Identity | None = None
        self._sorts: dict[Member, str] = {}

    @property
    def capabilities(self) -> Capabilities:
        """COPY's text passes through between two servers, which hash rows themselves."""
        return Capabilities(formats=(COPY_TEXT, ARROW), digests=self._digests, writers=4)

    @cached_property
    def _digests(self) -> tuple[str, ...]:
        """A server hashes the bytes that it stores: in another encoding they are others for the same text."""
        with self._mapped("connect to", self.name) as connection:
            encoding = connection.info.parameter_status("server_encoding")
        return (SERVER_DIGEST, CANONICAL) if encoding == "UTF8" else (CANONICAL,)

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self._address.name

    def identity(self) -> Identity:
        """The cluster's system identifier, and its timeline as the incarnation."""
        query = """SELECT system_identifier::text, current_database(), CASE WHEN pg_is_in_recovery()
                   THEN (SELECT timeline_id FROM pg_control_checkpoint())::text
                   ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint::text
                   END FROM pg_control_system()"""
        if self._identity is None:
            with self._mapped("connect to", self.name) as connection:
                row = connection.execute(query).fetchone()
            assert row is not None
            system, database, timeline = row
            self._identity = Identity(SYSTEM, system, database, f"timeline {timeline}")
        return self._identity

    def discover(self) -> Sequence[Schema]:
        """The tables, and by `problem` what looks like one; a database in one snapshot."""
        with self._mapped("look at", self.name) as connection:
            try:
                return catalog.discover(connection, self._namespace)
            except psycopg.errors.LockNotAvailable:
                who = transactions.lockers(connection)
                raise Transient("look at", self.name, who[0] if who else "a table is locked") from None

    def native(self, schema: Schema) -> Schema:
        """The same: each type's canonical text is the server's own, or says as much."""
        return schema

    def split(self, schema: Schema, rows: int) -> Sequence[Span]:
        """Spans between every `rows`-th key, in the server's own order of keys."""
        key = _names(schema.key)
        query = sql.SQL(
            "SELECT {texts} FROM (SELECT {key}, row_number() OVER (ORDER BY {key}) - 1 AS {number}"
            " FROM {table}) AS numbered WHERE {number} > 0 AND {number} % {rows} = 0 ORDER BY {number}"
        ).format(
            texts=sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in schema.key),
            key=key,
            number=sql.Identifier("syncline number"),
            table=self._source_of(schema.table),
            rows=rows,
        )
        with self._mapped("split", f"table {schema.table}") as connection:
            bounds: list[Bound] = connection.execute(query).fetchall()
        return [Span(*ends) for ends in zip([None, *bounds], [*bounds, None], strict=True)]

    def read(
        self, schema: Schema, span: Span, *, format: str = ARROW, max_bytes: int = 8 << 20
    ) -> Iterator[Rows]:
        """The rows of a span, as one COPY sends them."""
        if format not in self.capabilities.formats:
            raise Refused("read", f"table {schema.table}", f"PostgreSQL has no format {format}")
        query = self._selection(schema, span)
        columns = schema.stored
        shape = _TEXT if format == COPY_TEXT else _CSV
        with contextlib.closing(self._copied(schema.table, query, shape, max_bytes)) as pieces:
            for raw, count in pieces:
                if format == COPY_TEXT:
                    yield Rows.wire(schema.names, COPY_TEXT, raw, count)
                else:
                    yield self._parsed(columns, raw, count, schema.table)

    def read_keys(self, schema: Schema, keys: Rows) -> Rows:
        """The rows with these keys now, through a join with the keys. A key that the server writes and cannot
        read again (`timestamp(0)` rounds past the last year) is looked for by its text, without an index."""
        found, unreadable = self._read_readable(schema, _without_zeros(keys))
        if unreadable:
            texts = sql.SQL(", ").join(
                sql.SQL("{}::text").format(sql.Identifier(name)) for name in schema.key
            )
            condition = sql.SQL("WHERE ({}) IN (SELECT * FROM unnest({}) AS texts)").format(
                texts, _key_texts(schema, Rows.concat(unreadable))
            )
            found.append(self._chosen(schema, condition))
        return Rows.concat(found)

    def _read_readable(self, schema: Schema, keys: Rows) -> tuple[list[Rows], list[Rows]]:
        """The rows of the keys that the server can read, and the keys that it cannot, found by halving."""
        try:
            return [self._chosen(schema, _joined(schema, keys))], []
        except Unfit:
            if keys.count == 1:
                return [], [keys]
        middle = keys.count // 2
        first = self._read_readable(schema, keys.take(range(middle)))
        second = self._read_readable(schema, keys.take(range(middle, keys.count)))
        return first[0] + second[0], first[1] + second[1]

    def _chosen(self, schema: Schema, condition: sql.Composable) -> Rows:
        """The rows of a table that a join or a WHERE leaves."""
        query = sql.SQL("SELECT {} FROM {} {}").format(
            _names(schema.names), self._source_of(schema.table), condition
        )
        pieces = self._copied(schema.table, query, _CSV, 8 << 20)
        parts = [self._parsed(schema.stored, raw, count, schema.table) for raw, count in pieces]
        return Rows.concat(parts) if parts else rows_from_csv(schema.stored, b"")

    def digest(self, schema: Schema, span: Span, scheme: str) -> Digest:
        """By the server for SERVER_DIGEST, else of rows read and hashed here."""
        if scheme == CANONICAL:
            return digest_rows(schema, self.read(schema, span))
        if scheme != SERVER_DIGEST:
            raise Refused("compare", f"table {schema.table}", f"PostgreSQL has no digest {scheme}")
        hashed = sql.SQL('hashtextextended(line COLLATE "C", {})::numeric')
        query = sql.SQL(
            "SELECT count(*), coalesce(sum({}), 0), coalesce(sum({}), 0)"
            " FROM (SELECT ROW({})::text AS line FROM {} WHERE {}) AS lines"
        ).format(
            hashed.format(0),
            hashed.format(1),
            _names(schema.names),
            self._source_of(schema.table),
            _within(schema, span),
        )
        with self._mapped("compare", f"table {schema.table}") as connection:
            row = connection.execute(query).fetchone()
        assert row is not None
        count, low, high = row
        return Digest(count, (int(low) + (int(high) << 64)) % _MODULUS)

    def sequences(self, schema: Schema) -> Mapping[str, int]:
        """The last number that each identity or serial column gave out."""
        numbers: dict[str, int] = {}
        with self._mapped("read the sequences of", f"table {schema.table}") as connection:
            for column, sequence, _ in self._sequences_of(connection, schema.table):
                row = connection.execute(
                    sql.SQL("SELECT last_value FROM {} WHERE is_called").format(sequence)
                ).fetchone()
                if row is not None:
                    numbers[column] = row[0]
        return numbers

    def mends(self, statement: str) -> bool:
        """Grants, schemas, extensions, types, replica identities, and slots and publications of our own."""
        with self._mapped("check", self.name) as connection:
            return problems.mends(connection, statement)

    def mend(self, statement: str) -> None:
        """Run it, in a transaction of its own."""
        with self._mapped("mend", self.name) as connection:
            if not problems.mends(connection, statement):
                raise Refused("mend", self.name, "the statement is none of the safe ones", f"run {statement}")
            problems.run(connection, statement)

    def interrupt(self) -> None:
        """End what runs, on the server too."""
        self._sessions.interrupt()

    def close(self) -> None:
        """End the session."""
        self._sessions.close()

    # What a subclass in this room builds on.

    def _session(self) -> Connection:
        """The session, in autocommit; only inside `_mapped`."""
        return self._sessions.connection

    def _connect(self) -> Connection:
        """A further session, which the caller closes."""
        return self._sessions.connect()

    def _walsender(self) -> str:
        """The connection string of a walsender with our settings."""
        return self._address.conninfo(replication="database")

    def _mapped(self, operation: str, subject: str) -> contextlib.AbstractContextManager[Connection]:
        """The session; what the server says inside leaves as one of our errors."""
        return self._sessions.mapped(operation, subject)

    @cached_property
    def _namespace(self) -> str:
        """The namespace of tables without one."""
        with self._mapped("connect to", self.name) as connection:
            return catalog.default_namespace(connection)

    def place(self, table: TableName) -> TableName:
        """The same name; the default namespace is left unsaid."""
        return catalog.table_name(table.schema or self._namespace, table.name, self._namespace)

    def _member(self, schema: Schema | TableName) -> Member:
        """A table's namespace and name here."""
        table = schema if isinstance(schema, TableName) else schema.table
        return table.schema or self._namespace, table.name

    def _sort(self, member: Member) -> str:
        """The table's relkind; '' when it does not exist."""
        if member not in self._sorts:
            query = """SELECT relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                       WHERE nspname = %s AND relname = %s"""
            with self._mapped("look at", f"table {member[1]}") as connection:
                row = connection.execute(query, member).fetchone()
            if row is None:
                return ""
            self._sorts[member] = row[0]
        return self._sorts[member]

    def _source_of(self, table: TableName) -> sql.Composable:
        """The table for a FROM: with its partitions, without its heirs."""
        return self._only(self._member(table))

    def _only(self, member: Member) -> sql.Composable:
        form = "{}" if self._sort(member) == "p" else "ONLY {}"
        return sql.SQL(form).format(sql.Identifier(*member))

    def _selection(self, schema: Schema, span: Span) -> sql.Composed:
        return sql.SQL("SELECT {} FROM {} WHERE {}").format(
            _names(schema.names), self._source_of(schema.table), _within(schema, span)
        )

    def _copied(
        self, table: TableName, query: sql.Composable, shape: sql.SQL, max_bytes: int
    ) -> Generator[tuple[bytes, int]]:
        """What a query yields in pieces of about `max_bytes` with their number of rows. The server sends
        each row as one message (protocol, "COPY Operations")."""
        statement = sql.SQL("COPY ({}) TO STDOUT {}").format(query, shape)
        with (
            self._mapped("read", f"table {table}") as connection,
            connection.cursor() as cursor,
            cursor.copy(statement) as copy,
        ):
            lines: list[bytes] = []
            size = 0
            while line := copy.read():
                lines.append(bytes(line))
                size += len(line)
                if size >= max_bytes:
                    yield b"".join(lines), len(lines)
                    lines, size = [], 0
            if lines:
                yield b"".join(lines), len(lines)

    def _parsed(self, columns: Sequence[Column], raw: bytes, count: int, table: TableName) -> Rows:
        try:
            rows = rows_from_csv(columns, raw)
        except NeedsOperator as error:
            raise NeedsOperator("read", f"table {table}", error.reason, error.remedy) from None
        if rows.count != count:
            raise NeedsOperator(
                "read", f"table {table}", f"{count} rows were sent and {rows.count} understood"
            )
        return rows

    def _sequences_of(
        self, connection: Connection, table: TableName
    ) -> list[tuple[str, sql.Identifier, int]]:
        """Each column that a sequence numbers, that sequence, and its step."""
        query = """SELECT DISTINCT ON (a.attname) a.attname, n.nspname, s.relname, q.seqincrement
                   FROM pg_class c JOIN pg_namespace cn ON cn.oid = c.relnamespace
                   JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                   LEFT JOIN pg_attrdef f ON f.adrelid = c.oid AND f.adnum = a.attnum
                   JOIN pg_depend d ON (d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
                                        AND d.refobjsubid = a.attnum AND d.classid = 'pg_class'::regclass
                                        AND d.deptype IN ('a', 'i'))
                                    OR (d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
                                        AND d.refclassid = 'pg_class'::regclass)
                   JOIN pg_class s ON s.relkind = 'S' AND s.oid IN (d.objid, d.refobjid)
                   JOIN pg_namespace n ON n.oid = s.relnamespace JOIN pg_sequence q ON q.seqrelid = s.oid
                   WHERE cn.nspname = %s AND c.relname = %s AND a.attgenerated = ''
                   ORDER BY a.attname, s.oid"""
        rows = connection.execute(query, self._member(table)).fetchall()
        return [(column, sql.Identifier(space, name), step) for column, space, name, step in rows]


def _names(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _without_zeros(keys: Rows) -> Rows:
    """The keys without a zero in their text: no row here can have one."""
    for place in range(len(keys.columns)):
        array = keys.arrays[place]
        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            keys = keys.take(pc.indices_nonzero(pc.invert(pc.match_substring(array, "\0"))))
    return keys


def _key_texts(schema: Schema, keys: Rows) -> sql.Composed:
    """An array of texts for each column of the key."""
    arrays = [texts_of(keys.array(column.name), column.type).to_pylist() for column in schema.key_columns]
    return sql.SQL(", ").join(sql.SQL("{}::text[]").format(sql.Literal(array)) for array in arrays)


def _joined(schema: Schema, keys: Rows) -> sql.Composed:
    """A join with keys as values of their columns' types."""
    # Cast one by one: an array of arrays would be taken apart to the last element.
    cast = [
        sql.SQL("{0}::{1} AS {0}").format(sql.Identifier(column.name), sql.SQL(native(column.type)))
        for column in schema.key_columns
    ]
    names = _names(schema.key)
    return sql.SQL("JOIN (SELECT {} FROM unnest({}) AS texts ({})) AS syncline_keys USING ({})").format(
        sql.SQL(", ").join(cast), _key_texts(schema, keys), names, names
    )


def _within(schema: Schema, span: Span) -> sql.Composable:
    """The condition of a span: rows compared with literals of the columns' types, in the server's own order,
    collations included."""
    types = [sql.SQL(wanted(column.type, schema.system)) for column in schema.key_columns]
    conditions: list[sql.Composable] = []
    for operator, bound in ((">=", span.lower), ("<", span.upper)):
        if bound is not None:
            # A row type's text has no meaning by itself, and a domain's none as its base.
            values = sql.SQL(", ").join(
                sql.SQL("{}::{}").format(sql.Literal(cell), type)
                for cell, type in zip(bound, types, strict=True)
            )
            conditions.append(sql.SQL("({}) {} ({})").format(_names(schema.key), sql.SQL(operator), values))
    return sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("true")

"""Rows into a table: straight in, by key, or through a staging table.

What cannot meet a row of the same key goes in by LOAD DATA LOCAL. By key, a table whose key is its only
unique index takes rows by INSERT … ON DUPLICATE KEY UPDATE of literals (faster here than by a staging table);
any other would update whichever row has the same unique value, so its rows are staged, updated by a join and
inserted where they are missing. Every statement's warnings are looked at: a server of this family says no
more than that where it cuts a value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import pymysql

from ...errors import NeedsOperator, Unfit
from ...model import Column, Index, Kind, Rows, Schema
from .catalog import EXACT, PREFIX, Described
from .cells import decode, encode, selected
from .session import Session, number_of, raise_unfit
from .store import key_conditions
from .text import lines, pieces, quote, quoted, tuples
from .types import Declared, is_bits, is_hex

ROWS_AT_ONCE = 1000
STATEMENT_BYTES = 4 << 20
PIECE_BYTES = 1 << 20
DUPLICATE = 1062


@dataclass(frozen=True, slots=True)
class Table:
    """A table that rows of a source's table go to."""

    name: str
    schema: Schema
    described: Described

    def declared(self, column: str) -> Declared:
        """A column's type in the server's words."""
        return self.described.declared[column]

    @property
    def uniques(self) -> list[Index]:
        """The unique indexes that have a column outside the key."""
        key = set(self.schema.key)
        listed = [Index("PRIMARY", self.described.schema.key, True), *self.described.uniques]
        return [index for index in listed if not key.issuperset(index.columns)]


def load(session: Session, table: Table, rows: Rows) -> None:
    """Add rows whose keys are not there; Unfit where one is refused."""
    if not rows.count:
        return
    if session.server.loads:
        _load_data(session, table, rows)
    else:
        _insert(session, table, rows, f"INSERT INTO {quote(table.name)} ({quoted(rows.columns)}) VALUES ", "")


def _load_data(session: Session, table: Table, rows: Rows) -> None:
    schema = table.schema
    columns = [schema.column(name) for name in rows.columns]
    targets, settings = [], []
    for at, column in enumerate(columns):
        expression = _read_as(session, table.declared(column.name), column, f"@c{at}")
        targets.append(f"@c{at}" if expression else quote(column.name))
        if expression:
            settings.append(f"{quote(column.name)} = {expression}")
    statement = (
        f"LOAD DATA LOCAL INFILE 'rows' INTO TABLE {quote(table.name)} CHARACTER SET binary"
        f" FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' ({', '.join(targets)})"
    )
    if settings:
        statement += f" SET {', '.join(settings)}"
    encoded = Rows.of(rows.columns, _encoded(session, table, rows))
    types = [column.type for column in columns]

    def parts() -> Iterator[memoryview]:
        for piece in encoded.pieces(PIECE_BYTES):
            yield memoryview(lines(piece.arrays, types))

    added, warned = session.load(statement, parts())
    if warned or added != rows.count:
        raise_unfit(session.warnings(), f"table {schema.table}")


def _read_as(session: Session, told: Declared, column: Column, variable: str) -> str:
    """What makes a cell of a loaded text; '' where the text's bytes are the cell's."""
    if is_hex(column.type):
        return f"UNHEX({variable})"
    if is_bits(column.type) or told.base == "bit":
        return f"CAST({variable} AS UNSIGNED)"
    if told.base == "json" or (told.charset and told.charset not in ("utf8mb4", "ascii")):
        return f"CONVERT({variable} USING utf8mb4)"
    return ""


def upsert(session: Session, table: Table, rows: Rows) -> Rows:
    """Write rows by key; the keys of those with unsent cells that are not there."""
    missing = []
    for part in rows.by_unsent():
        whole = set(part.columns) == set(table.schema.names)
        if whole and not table.uniques:
            # What MariaDB knows alone, MySQL calls deprecated, with a warning a column.
            given, end = ("VALUES({})", "") if session.server.mariadb else ("s.{}", " AS s")
            sets = ", ".join(f"{quote(name)} = {given.format(quote(name))}" for name in part.columns)
            head = f"INSERT INTO {quote(table.name)} ({quoted(part.columns)}) VALUES "
            _insert(session, table, part, head, f"{end} ON DUPLICATE KEY UPDATE {sets}")
        else:
            missing.append(_upsert_staged(session, table, part, whole=whole))
    return Rows.concat([decode(table.schema, table.schema.key_columns, []), *missing])


def _insert(session: Session, table: Table, rows: Rows, head: str, tail: str) -> None:
    columns = [table.schema.column(name) for name in rows.columns]
    numbers = [table.declared(column.name).base == "decimal" for column in columns]
    written = tuples(_encoded(session, table, rows), [column.type for column in columns], numbers)
    before, after = head.encode(), tail.encode()
    room = min(STATEMENT_BYTES, session.server.cut - len(before) - len(after))
    for piece in pieces(written, room, ROWS_AT_ONCE):
        if len(piece) == 1 and len(piece[0]) > session.server.cut - len(before) - len(after):
            raise Unfit(
                "write to",
                f"table {table.schema.table}",
                f"a row takes {len(piece[0]):,} bytes, and the server takes {session.server.cut:,} at once",
                "raise max_allowed_packet at the target",
            )
        session.run(before + b", ".join(piece) + after)
        refuse_warned(session, table)


def _encoded(session: Session, table: Table, rows: Rows) -> list[pa.Array]:
    """The cells to write. MariaDB would store 0.0 for -0.0 without a word."""
    for name, array in zip(rows.columns, rows.arrays, strict=True):
        signed = session.server.mariadb and pa.types.is_floating(array.type)
        if signed and pc.any(pc.equal(pc.cast(array, pa.string()), "-0")).as_py():
            raise _unfit(table, f"column {name} has -0.0, which MariaDB stores as 0.0")
    return encode(table.schema, rows, table.described.declared)


def _unfit(table: Table, why: str) -> Unfit:
    remedy = "change the value at the source, or keep the column as text with --store"
    return Unfit("write to", f"table {table.schema.table}", why, remedy)


def refuse_warned(session: Session, table: Table) -> None:
    """Unfit when the last statement changed a value that it wrote."""
    if session.warned:
        raise_unfit(session.warnings(), f"table {table.schema.table}")


def _upsert_staged(session: Session, table: Table, rows: Rows, *, whole: bool) -> Rows:
    """Stage, update what is there, insert what is not; the keys that are missing where a row is not whole."""
    stage = _stage(session, table, rows)
    on = " AND ".join(f"t.{quote(name)} = s.{quote(name)}" for name in table.schema.key)
    absent = f"FROM {quote(stage)} AS s LEFT JOIN {quote(table.name)} AS t ON {on}"
    absent += f" WHERE t.{quote(table.schema.key[0])} IS NULL"
    missing = decode(table.schema, table.schema.key_columns, [])
    if not whole:
        names = ", ".join(selected(column, "s.") for column in table.schema.key_columns)
        missing = decode(table.schema, table.schema.key_columns, session.raw(f"SELECT {names} {absent}"))
    names = quoted(rows.columns)
    sets = ", ".join(f"t.{quote(name)} = s.{quote(name)}" for name in _settable(table, rows))
    update = f"UPDATE {quote(table.name)} AS t JOIN {quote(stage)} AS s ON {on} SET {sets}"
    insert = f"INSERT INTO {quote(table.name)} ({names}) SELECT {quoted(rows.columns, 's.')} {absent}"
    statements = [update] * bool(sets) + [insert] * whole
    try:
        session.run("SAVEPOINT staged")
        _write(session, table, statements)
    except pymysql.err.IntegrityError as error:
        if number_of(error) != DUPLICATE or not table.uniques:
            raise
        session.run("ROLLBACK TO SAVEPOINT staged")
        for index in table.uniques:
            _vacate(session, table, index, stage, on, rows.columns)
        _write(session, table, statements)
    session.run(f"DROP TEMPORARY TABLE {quote(stage)}")
    return missing


def _settable(table: Table, rows: Rows) -> list[str]:
    """The columns that an update sets: of the key those alone in which equal values may be spelt in several
    ways, as a join whose own columns are set takes a detour through a table on disk."""
    key = {name for name in table.schema.key if not _is_respelt(table.declared(name))}
    return [name for name in rows.columns if name not in key]


def _is_respelt(told: Declared) -> bool:
    return bool(told.charset) and told.collation not in EXACT


def _write(session: Session, table: Table, statements: Sequence[str]) -> None:
    for statement in statements:
        session.run(statement)
        refuse_warned(session, table)


def _stage(session: Session, table: Table, rows: Rows) -> str:
    """A temporary table of these columns with these rows: made and dropped without a commit."""
    name = f"{PREFIX}stage_{hashlib.blake2b(table.name.encode(), digest_size=6).hexdigest()}"
    columns = [f"{quote(column)} {table.declared(column).spelled} NULL" for column in rows.columns]
    required = [
        line.removesuffix(" NULL") + " NOT NULL" if column in table.schema.key else line
        for column, line in zip(rows.columns, columns, strict=True)
    ]
    session.run(f"DROP TEMPORARY TABLE IF EXISTS {quote(name)}")
    session.run(
        f"CREATE TEMPORARY TABLE {quote(name)} ({', '.join(required)},"
        f" PRIMARY KEY ({quoted(table.schema.key)})) ENGINE=InnoDB ROW_FORMAT=DYNAMIC"
    )
    load(session, replace(table, name=name), rows)
    return name


def _vacate(session: Session, table: Table, index: Index, stage: str, on: str, sent: Sequence[str]) -> None:
    """Give the rows that are to change values that nobody has: a value may move from one surviving row to
    another, and none of them is deleted for it (Race 6)."""
    concerned = [name for name in index.columns if name in sent and name not in table.schema.key]
    if not concerned:
        return
    known = {column.name: column for column in table.described.schema.columns}
    for name in concerned:
        value = _free_value(known[name], table.declared(name))
        if not value:
            continue
        if "@free" in value:
            extreme = "LEAST(MIN({0}), 0)" if "-" in value else "MAX({0})"
            query = f"SELECT {extreme.format(quote(name))} FROM {quote(table.name)}"
            session.run(f"SET @free = ({query})")
        session.run(
            f"UPDATE {quote(table.name)} AS t JOIN {quote(stage)} AS s ON {on} SET t.{quote(name)} = {value}"
            f" WHERE NOT (t.{quote(name)} <=> s.{quote(name)})"
        )
        return
    raise NeedsOperator(
        "write to",
        f"table {table.schema.table}",
        f"rows exchange values of unique index {index.name}, and none of its columns can hold another value"
        " meanwhile",
        f"drop index {index.name} at the target until the stream has passed this point",
    )


def _free_value(column: Column, told: Declared) -> str:
    """An expression for a value that no row has; '' when the column has none that is sure to fit."""
    if column.nullable:
        return "NULL"
    if told.base in ("tinyint", "smallint", "mediumint", "int", "bigint", "decimal"):
        return "(@free := @free + 1)" if "unsigned" in told.column else "(@free := @free - 1)"
    long = told.base.endswith(("text", "blob")) or (told.length or 0) >= 32
    if column.type.kind is Kind.BYTES:
        return "REPLACE(UUID(), '-', '')" if long else ""
    return "REPLACE(UUID(), '-', '')" if long and told.charset else ""


def delete(session: Session, table: Table, keys: Rows) -> None:
    """Delete by key."""
    for condition in key_conditions(table.described, table.schema, keys):
        session.run(f"DELETE FROM {quote(table.name)} WHERE {condition}")

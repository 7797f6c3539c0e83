"""Whether a table can be held here, and whether one that is here can hold a source's rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from psycopg import sql

from ...model import Column, Kind, Schema, Type
from ...model.types import INTEGERS
from . import catalog, ddl
from .catalog import Member
from .connection import Connection
from .types import SYSTEM, native, wanted

SYSTEM_COLUMNS = {"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"}
"""PostgreSQL documentation, "System Columns"."""
MOST_COLUMNS = 1600

_RELATION = """
SELECT c.oid, relkind::text, relpersistence::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE nspname = %s AND relname = %s
"""
# One that no table has for its rows, and no type for its arrays: that one would give way.
_TYPE = """
SELECT 1 FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace
WHERE nspname = %s AND typname = %s AND typrelid = 0
  AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
"""
_SORTS = {"S": "a sequence", "i": "an index", "I": "an index", "c": "a type"}


def refusals(connection: Connection, schema: Schema) -> Sequence[str]:
    """Why a table can never be held exactly, a sentence a column (Promise 3)."""
    reasons = list(_unnamable(schema))
    labels = _labels(connection)
    made = {enum.name for enum in ddl.enums(schema)}
    for column in ddl.carried(schema):
        type = wanted(column.type, schema.system)
        subject = f"column {column.name} ({column.type})"
        if not type:
            reasons.append(f"{subject} has no exact form in PostgreSQL")
        elif type.removesuffix("[]") not in made and not _has_type(connection, type):
            reasons.append(
                f"{subject} needs the type {type}, which the target does not have; "
                + (_extension(connection, type) or "create it there")
            )
        elif column.name in schema.key and type.removesuffix("[]") in ("json", "xml"):
            reasons.append(f"{subject} cannot be part of a key in PostgreSQL")
    for enum in ddl.enums(schema):
        there = labels.get(enum.name)
        lost = [label for label in enum.labels if there is not None and label not in there]
        reasons += [
            f"the target's type {enum.name} has no label {label!r}; "
            f"run ALTER TYPE {enum.name} ADD VALUE {sql.Literal(label).as_string(connection)} as its owner"
            for label in lost
        ]
    return tuple(dict.fromkeys(reasons))


def _unnamable(schema: Schema) -> Iterator[str]:
    """Names that PostgreSQL does not take, and more of them than it takes."""
    names = [column.name for column in ddl.carried(schema)]
    for name in (schema.table.name, *names):
        if not name:
            yield "a column of it has an empty name, which PostgreSQL does not take"
        elif len(name.encode()) > ddl.NAME_BYTES:
            yield f"the name {name} takes more than {ddl.NAME_BYTES} bytes"
    for name in names:
        if name in SYSTEM_COLUMNS:
            yield f"every table of PostgreSQL has a column {name} of its own"
    if len(names) > MOST_COLUMNS:
        yield f"it has {len(names):,} columns, and PostgreSQL takes {MOST_COLUMNS:,}"


@dataclass(frozen=True, slots=True)
class _Difference:
    """One way in which a table cannot take the rows, and what of an ALTER TABLE would change that."""

    text: str
    action: sql.Composed | None = None


def mismatch(connection: Connection, schema: Schema, member: Member, default: str) -> str:
    """How the table differs from what the rows need, all of it; '' when it fits or there is none."""
    return "; ".join(found.text for found in _differences(connection, schema, member, default))


def alteration(connection: Connection, schema: Schema, member: Member, default: str) -> str:
    """The statement after which the table fits; '' when there is none."""
    # Without the right to read it, and without waiting for rows: one that was written to counts as filled.
    query = """SELECT relkind = 'r' AND pg_relation_size(c.oid) = 0
               FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
               WHERE nspname = %s AND relname = %s"""
    empty = connection.execute(query, member).fetchone() == (True,)
    found = _differences(connection, schema, member, default, empty=empty)
    actions = [difference.action for difference in found]
    known = [action for action in actions if action is not None]
    if not known or len(known) < len(actions):
        return ""
    form = sql.SQL("ALTER TABLE {} {}").format(sql.Identifier(*member), sql.SQL(", ").join(known))
    return form.as_string(connection)


def _differences(
    connection: Connection, schema: Schema, member: Member, default: str, *, empty: bool = False
) -> list[_Difference]:
    row = connection.execute(_RELATION, member).fetchone()
    if row is None:
        taken = connection.execute(_TYPE, member).fetchone()
        return [_Difference("a type has its name")] if taken else []
    found = catalog.discover(connection, default, [row[0]])
    if not found:
        sort = _SORTS.get(row[1], "a partition, or something else that is no table of its own")
        return [_Difference(f"it is {sort}")]
    (there,) = found
    oid, sort, persistence = row
    if sort not in ("r", "p"):
        return [_Difference(there.problem)]
    differences = [*_columns(connection, schema, there, empty=empty), *_fixed(connection, oid, schema)]
    if persistence == "u":
        logged = sql.Composed([sql.SQL("SET LOGGED")])
        differences.append(_Difference("it is unlogged, so that a crash empties it", logged))
    if not _keyed(connection, oid, schema.key):
        columns = ", ".join(schema.key)
        form = sql.SQL("ADD UNIQUE ({})" if there.key else "ADD PRIMARY KEY ({})")
        key = form.format(sql.SQL(", ").join(map(sql.Identifier, schema.key)))
        differences.append(_Difference(f"it has no primary key or unique index over just ({columns})", key))
    return differences


def narrower(
    connection: Connection, schema: Schema, member: Member, default: str
) -> Iterator[tuple[str, str]]:
    """The columns of a table that fits whose rows may yet be parked: values of the source's type that the
    target's refuses. A sentence and a remedy a column."""
    name = sql.Identifier(*member).as_string(connection)
    row = connection.execute("SELECT to_regclass(%s)::oid", [name]).fetchone()
    found = catalog.discover(connection, default, [row[0]]) if row and row[0] else []
    for there in found:
        known = {column.name: column.type for column in there.columns}
        for column in schema.stored:
            have = known.get(column.name)
            if have is None or have.kind not in INTEGERS or column.type.kind not in INTEGERS:
                continue
            if _bits(have) < _bits(column.type):
                names = native(_of_postgres(have)), wanted(column.type, schema.system)
                why = "larger values are parked"
                form = sql.SQL("ALTER TABLE {} ALTER COLUMN {} TYPE {}")
                wider = form.format(
                    sql.Identifier(*member), sql.Identifier(column.name), sql.SQL(names[1])
                ).as_string(connection)
                yield (
                    f"column {column.name} is {names[0]} there and {names[1]} at the source: {why}",
                    f"run {wider} when nobody needs the table while it is rewritten",
                )


def _bits(type: Type) -> int:
    """How large the numbers of an integer type get, as bits."""
    unsigned = type.kind.name.startswith("U")
    return 2 * int(type.kind.name.lstrip("UINT")) + unsigned


def _columns(connection: Connection, schema: Schema, there: Schema, *, empty: bool) -> Iterator[_Difference]:
    """What differs column by column. One that is added to rows would be NULL in them: that mends nothing."""
    known = {column.name: column for column in there.columns}
    for column in schema.stored:
        found, name = known.pop(column.name, None), column.name
        if found is None:
            yield _Difference(f"it has no column {name}", _addition(schema, column) if empty else None)
        elif found.generated:
            yield _Difference(f"column {name} is generated", _altered(name, "DROP EXPRESSION"))
        elif not _holds(found, column, schema.system):
            have, need = native(_of_postgres(found.type)), wanted(column.type, schema.system)
            yield _Difference(f"column {name} is {have}, not {need}", _retyped(connection, name, have, need))
        elif column.nullable and not found.nullable:
            text = f"column {name} is NOT NULL, and the source's may be NULL"
            yield _Difference(text, None if name in there.key else _altered(name, "DROP NOT NULL"))
    for name, column in known.items():
        own = column.generated or column.identity or column.default is not None or column.nullable
        if not own:
            text = f"column {name} needs a value, and the source has no such column"
            yield _Difference(text, None if name in there.key else _altered(name, "DROP NOT NULL"))


def _altered(name: str, action: str) -> sql.Composed:
    return sql.SQL("ALTER COLUMN {} {}").format(sql.Identifier(name), sql.SQL(action))


def _addition(schema: Schema, column: Column) -> sql.Composed:
    null = sql.SQL("" if column.nullable else " NOT NULL")
    type = sql.SQL(wanted(column.type, schema.system))
    return sql.SQL("ADD COLUMN {} {}{}").format(sql.Identifier(column.name), type, null)


def _retyped(connection: Connection, name: str, have: str, need: str) -> sql.Composed | None:
    """The change of a type where the server has a cast; whether it changed values is compared afterwards."""
    query = """SELECT a.oid = b.oid OR c.castcontext IN ('a', 'i'), 'S' IN (a.typcategory, b.typcategory),
                      c.oid IS NOT NULL
               FROM pg_type a CROSS JOIN pg_type b
               LEFT JOIN pg_cast c ON c.castsource = a.oid AND c.casttarget = b.oid
               WHERE a.oid = to_regtype(%s) AND b.oid = to_regtype(%s)"""
    row = connection.execute(query, [have, need]).fetchone()
    if row is None or not any(row):
        return None
    by_itself = sql.SQL("ALTER COLUMN {name} TYPE {type}")
    form = by_itself if row[0] else sql.SQL("ALTER COLUMN {name} TYPE {type} USING {name}::{type}")
    return form.format(name=sql.Identifier(name), type=sql.SQL(need))


def _fixed(connection: Connection, oid: int, schema: Schema) -> Iterator[_Difference]:
    """The key's numbers are only ever inserted, which OVERRIDING allows; nothing allows an UPDATE."""
    query = """SELECT attname::text FROM pg_attribute
               WHERE attrelid = %s AND attidentity = 'a' AND NOT attisdropped ORDER BY attnum"""
    for (name,) in connection.execute(query, [oid]):
        if name in schema.names and name not in schema.key:
            text = f"column {name} is GENERATED ALWAYS AS IDENTITY, so that no update can set it"
            yield _Difference(text, _altered(name, "SET GENERATED BY DEFAULT"))


def _holds(there: Column, column: Column, system: str) -> bool:
    """Whether every value of a column comes back as it was, or is refused loudly."""
    have, need = there.type, column.type
    if native(_of_postgres(have)) == wanted(need, system):
        return True
    if have.kind in INTEGERS and need.kind in INTEGERS:
        return not have.name  # what is out of range is an error
    if have.kind is not need.kind:
        return have.kind is Kind.TEXT and need.kind is Kind.ENUM and not have.name and have.length is None
    match have.kind:
        case Kind.TEXT:
            return not have.name and (have.length is None or have.length >= (need.length or have.length + 1))
        case Kind.DECIMAL:
            # numeric(p,s) pads and rounds to its scale without a word.
            same_scale = system == SYSTEM and need.precision is not None and have.scale == need.scale
            return not have.name and (have.precision is None or same_scale)
        case Kind.JSON:
            return not have.name  # jsonb does not keep the text
        case Kind.ENUM:
            return set(need.labels) <= set(have.labels) and system != SYSTEM
        case Kind.ARRAY | Kind.OPAQUE:
            return False
    return not have.name


def _of_postgres(type: Type) -> Type:
    return Type(
        type.kind, type.length, type.precision, type.scale, type.element, type.labels, SYSTEM, type.name
    )


def _keyed(connection: Connection, oid: int, key: Sequence[str]) -> bool:
    """Whether an index can find rows by exactly this key."""
    query = """SELECT EXISTS (
                   SELECT FROM pg_index i WHERE i.indrelid = %s AND i.indisunique AND i.indimmediate
                      AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
                      AND %s::text[] = (SELECT array_agg(a.attname::text ORDER BY a.attname COLLATE "C")
                           FROM pg_attribute a WHERE a.attrelid = i.indrelid
                            AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])))"""
    wanted_key = sorted(key, key=str.encode)
    return connection.execute(query, [oid, wanted_key]).fetchone() == (True,)


def _has_type(connection: Connection, type: str) -> bool:
    return connection.execute("SELECT to_regtype(%s) IS NOT NULL", [type]).fetchone() == (True,)


def _extension(connection: Connection, type: str) -> str:
    """What makes the type, where it is called like an extension that the server has at hand."""
    namespace, _, name = type.removesuffix("[]").rpartition(".")
    query = "SELECT 1 FROM pg_available_extensions WHERE name = %s AND installed_version IS NULL"
    if not namespace or connection.execute(query, [name]).fetchone() is None:
        return ""
    return f"run CREATE EXTENSION {name} SCHEMA {namespace} as a superuser"


def _labels(connection: Connection) -> dict[str, list[str]]:
    """The labels of every enum by its qualified name."""
    query = """SELECT format('%I.%I', n.nspname, t.typname), array_agg(e.enumlabel::text)
               FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid
               JOIN pg_namespace n ON n.oid = t.typnamespace GROUP BY 1"""
    return dict(connection.execute(query).fetchall())

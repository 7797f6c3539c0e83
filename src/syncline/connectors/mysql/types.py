"""What a column's type means, and what is declared for a canonical type.

A type whose canonical kind alone would lose something carries the declaration as its name, so that a copy in
another server of the family is declared the same. A canonical type that the server has no type for is kept
in one that holds its text, and the column's comment says what it is: `syncline:{"kind":"interval"}`. So
arrays, decimals of any length, UUIDs and other systems' types come back as what they were.

    bool, int8 … uint64          tinyint(1), tinyint … bigint unsigned
    decimal(p,s)                 decimal(p,s) up to 65 digits, 30 behind the point, from where it is enforced
    float32, float64             float, double
    text, bytes                  longtext, longblob; varchar(n), varbinary(n) up to 1,024 and where indexed
    date, time, timestamp        date, time(6), datetime(6)
    timestamptz                  datetime(6) in UTC, with a comment: a timestamp ends in 2038
    uuid                         char(36), with a comment
    decimal, interval, json,     longtext with a comment, varchar(n) where indexed: MySQL's JSON changes
    enum, array, opaque          what is written, and its ENUM takes 'A' for 'a'
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

import orjson

from ...model import Column, Kind, Schema, Type
from ...model.types import INTEGERS

SYSTEM = "mysql"

COMMENT = "syncline:"
INDEX_BYTES = 3072
"""What the columns of an index may take (InnoDB, ROW_FORMAT=DYNAMIC)."""

LONGEST = 1024
"""The longest text that is declared with its length; a row of all such columns has an end of its own."""

_ENFORCING = {SYSTEM, "postgres"}
"""The systems whose lengths, precisions and scales are true of every value."""

_PLAIN: dict[Kind, str] = {
    Kind.BOOL: "tinyint(1)",
    Kind.INT8: "tinyint",
    Kind.INT16: "smallint",
    Kind.INT32: "int",
    Kind.INT64: "bigint",
    Kind.UINT8: "tinyint unsigned",
    Kind.UINT16: "smallint unsigned",
    Kind.UINT32: "int unsigned",
    Kind.UINT64: "bigint unsigned",
    Kind.FLOAT32: "float",
    Kind.FLOAT64: "double",
    Kind.DATE: "date",
    Kind.TIME: "time(6)",
    Kind.TIMESTAMP: "datetime(6)",
    Kind.TIMESTAMPTZ: "datetime(6)",
    Kind.BYTES: "longblob",
}
_BYTES: dict[Kind, int] = {
    **dict.fromkeys(INTEGERS | {Kind.FLOAT64, Kind.TIME, Kind.TIMESTAMP, Kind.TIMESTAMPTZ}, 8),
    **dict.fromkeys((Kind.BOOL, Kind.DATE, Kind.FLOAT32), 4),
    Kind.DECIMAL: 32,
    Kind.UUID: 144,
}
_KINDS: dict[str, Kind] = {
    "tinyint": Kind.INT8,
    "smallint": Kind.INT16,
    "mediumint": Kind.INT32,
    "int": Kind.INT32,
    "bigint": Kind.INT64,
    "year": Kind.INT16,
    "float": Kind.FLOAT32,
    "double": Kind.FLOAT64,
    "date": Kind.DATE,
    "time": Kind.TIME,
    "datetime": Kind.TIMESTAMP,
    "timestamp": Kind.TIMESTAMPTZ,
    "json": Kind.JSON,
    "uuid": Kind.UUID,
}
_UNSIGNED = {
    Kind.INT8: Kind.UINT8,
    Kind.INT16: Kind.UINT16,
    Kind.INT32: Kind.UINT32,
    Kind.INT64: Kind.UINT64,
}
_GEOMETRY = {
    *("geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon"),
    *("geometrycollection", "geomcollection", "vector"),
}
_TEXTS = {"char", "varchar", "tinytext", "text", "mediumtext", "longtext"}
_BLOBS = {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"}
_TIMED = {"time", "datetime", "timestamp"}
_CARRIERS = {"longtext", "varchar", "char", "datetime", "longblob", "varbinary"}
"""What a column is declared as whose comment may say what it is."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A column's type in the server's words: `base` is its first word, `column` all of it."""

    base: str
    column: str
    charset: str = ""
    collation: str = ""
    comment: str = ""

    @property
    def length(self) -> int | None:
        """The number between the parentheses, None where there is none."""
        found = re.search(r"\((\d+)", self.column)
        return int(found[1]) if found else None

    @property
    def spelled(self) -> str:
        """The type as a statement declares it."""
        if not self.charset:
            return self.column
        return f"{self.column} CHARACTER SET {self.charset} COLLATE {self.collation}"

    @property
    def digits(self) -> int:
        """How many digits of a second it keeps."""
        return self.length or 0 if self.base in _TIMED else 0


def declared(base: str, column: str, charset: str, collation: str, comment: str) -> Declared:
    """A type as the catalog tells it, without what means nothing: widths of integers."""
    text = column if base in ("enum", "set") else column.lower()
    if base in _KINDS and _KINDS[base] in INTEGERS and text != "tinyint(1)" and "zerofill" not in text:
        text = re.sub(r"\(\d+\)", "", text)
    return Declared(base, text, charset, collation, comment)


def is_hex(type: Type) -> bool:
    """Whether cells are the server's own bytes as hexadecimal digits: geometry, its SRID first."""
    return type.kind is Kind.OPAQUE and type.system == SYSTEM and base_of(type.name) in _GEOMETRY


def is_bits(type: Type) -> bool:
    """Whether the column is of bits, whose text is no number."""
    return type.system == SYSTEM and type.name.startswith("bit(")


def is_year(type: Type) -> bool:
    """Whether the column is of years."""
    return type.system == SYSTEM and type.name.startswith("year")


def canonical(of: Declared, exact: Collection[str]) -> Type:
    """The canonical type of a column; `exact` are the collations that tell all texts apart."""
    if of.comment.startswith(COMMENT) and of.base in _CARRIERS:
        try:
            return Type.from_json(orjson.loads(of.comment.removeprefix(COMMENT)))
        except (ValueError, KeyError, TypeError):
            pass  # somebody has written into the comment: the column is what it is declared as
    meaning = _meaning(of)
    if meaning.kind is Kind.OPAQUE:
        return meaning
    plain = declare(meaning, SYSTEM)
    if plain == of.column and (not of.charset or of.collation in exact):
        return meaning
    return replace(meaning, system=SYSTEM, name=of.spelled)


def _meaning(of: Declared) -> Type:
    if of.column in ("tinyint(1)", "bit(1)"):
        return Type(Kind.BOOL)
    if of.base == "bit":
        return Type(Kind.UINT64)
    if of.base == "decimal":
        precision, scale = map(int, re.findall(r"\d+", of.column)[:2])
        return Type(Kind.DECIMAL, precision=precision, scale=scale)
    if of.base in _TEXTS:
        return Type(Kind.TEXT, length=of.length)
    if of.base in _BLOBS:
        return Type(Kind.BYTES, length=of.length)
    if of.base == "set":
        return Type(Kind.TEXT)
    if of.base == "enum":
        labels = tuple(label.replace("''", "'") for label in re.findall(r"'((?:[^']|'')*)'", of.column))
        return Type(Kind.ENUM, labels=labels)
    kind = _KINDS.get(of.base)
    if kind is None:
        return Type(Kind.OPAQUE, system=SYSTEM, name=of.spelled)
    return Type(_UNSIGNED[kind] if "unsigned" in of.column and kind in _UNSIGNED else kind)


def as_stored(type: Type) -> Type:
    """The type of a column whose values travel as the server writes them: zero dates, hours beyond 24, a
    number in a boolean."""
    own = type.name if type.system == SYSTEM else ""
    if type.kind is Kind.BOOL:
        return Type(Kind.UINT64 if own else Kind.INT8, system=SYSTEM, name=own or "tinyint(1)")
    if type.kind in (Kind.DATE, Kind.TIME, Kind.TIMESTAMP) or (own and type.kind is Kind.TIMESTAMPTZ):
        return Type(Kind.OPAQUE, system=SYSTEM, name=own or _PLAIN[type.kind])
    return type


def declare(type: Type, system: str, room: int = 0) -> str:
    """What is declared for a column of a source's type, without a collation; '' when nothing can hold it.
    `room` are the bytes that it may take where it is indexed, 0 where it is not."""
    if type.system == SYSTEM and type.name:
        return re.sub(r" CHARACTER SET \w+ COLLATE \w+$", "", type.name)
    kind, enforced = type.kind, system in _ENFORCING
    if kind is Kind.DECIMAL and enforced and type.precision is not None:
        scale = type.scale or 0
        if 0 < type.precision <= 65 and 0 <= scale <= min(30, type.precision):
            return f"decimal({type.precision},{scale})"
    if kind is Kind.UUID:
        return "char(36)"
    length = type.length if enforced and kind in (Kind.TEXT, Kind.BYTES) else None
    if kind is Kind.BYTES:
        if room:
            return f"varbinary({min(room, length or room)})"
        return f"varbinary({length})" if length is not None and length <= LONGEST else "longblob"
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind is Kind.OPAQUE and not (type.system and type.name):
        return ""
    if room:
        return f"varchar({min(room // 4, length or room)})"
    return f"varchar({length})" if length is not None and length <= LONGEST else "longtext"


def base_of(declared: str) -> str:
    """The first word of a declared type."""
    return re.split(r"[ (]", declared, maxsplit=1)[0]


def is_text(declared: str) -> bool:
    """Whether a declared type holds text, and so needs a collation."""
    return base_of(declared) in _TEXTS


def definition(column: Column, system: str, room: int, exact: str, known: Collection[str]) -> str:
    """A column's type, its collation and its comment as CREATE TABLE takes them. `exact` is the server's
    collation that tells all texts apart, `known` are all that it has."""
    own = re.search(r" COLLATE (\w+)$", column.type.name) if column.type.system == SYSTEM else None
    base = declare(column.type, system, room)
    text = base
    if own and own[1] in known:
        text = column.type.name
    elif is_text(base) or base_of(base) in ("enum", "set"):
        charset = "ascii COLLATE ascii_bin" if base == "char(36)" else f"utf8mb4 COLLATE {exact}"
        text = f"{base} CHARACTER SET {charset}"
    said = _said(column.type, system)
    there = Declared(base_of(base), base, "utf8mb4" if is_text(base) else "", exact)
    if not (said.system == SYSTEM and said.name) and _meaning(there) != said:
        comment = COMMENT + orjson.dumps(said.to_json()).decode()
        text += " COMMENT '" + comment.replace("\\", "\\\\").replace("'", "''") + "'"
    return text


def _said(type: Type, system: str) -> Type:
    """A type as the comment says it: without another system's name where the kind says all, and without
    limits that its system does not keep."""
    if type.kind in (Kind.ARRAY, Kind.OPAQUE) or (type.system == SYSTEM and type.name):
        return type
    limited = Type(type.kind, type.length, type.precision, type.scale)
    return limited if system in _ENFORCING else Type(type.kind)


def rooms(schema: Schema) -> dict[str, int]:
    """The bytes that each column of unbounded size may take so that every index over it can be made: the
    indexed ones of the schema. A longer value is parked, by its key."""
    lists = [schema.key, *(index.columns for index in schema.indexes if index.unique)]
    lists += [foreign.columns for foreign in schema.foreign_keys]
    found: dict[str, int] = {}
    columns = {column.name: column for column in schema.columns}
    for names in lists:
        listed = [columns[name] for name in names if name in columns]
        loose = [column for column in listed if _is_loose(column.type, schema.system)]
        fixed = sum(_size(column.type, schema.system) for column in listed if column not in loose)
        for column in loose:
            room = max((INDEX_BYTES - fixed) // len(loose), 64)
            found[column.name] = min(room, found.get(column.name, room))
    return found


def _is_loose(type: Type, system: str) -> bool:
    return declare(type, system) in ("longtext", "longblob") or (
        type.kind in (Kind.TEXT, Kind.BYTES) and not type.name and _size(type, system) > INDEX_BYTES // 4
    )


def _size(type: Type, system: str) -> int:
    spelled = declare(type, system)
    number = re.search(r"\((\d+)", spelled)
    if is_text(spelled) and number:
        return 4 * int(number[1])
    if spelled.startswith(("varbinary", "binary")) and number:
        return int(number[1])
    return _BYTES.get(type.kind, 8)

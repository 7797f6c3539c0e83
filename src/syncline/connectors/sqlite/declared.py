"""What a declared column type means, and what is declared for a canonical type.

SQLite turns values into what a column's affinity prefers (sqlite.org/datatype3.html, 3.1), and affinity
follows from letters in the declared type. The names written here are chosen so that the affinity never
changes a canonical value, and so that reading them back gives the same canonical type:

    int8, int16, int32, int64     INT1, INT2, INT4, INTEGER (BIGINT as a key that nobody numbers)
    uint8, uint16, uint32         UINT1, UINT2, UINT4;  uint64: UNSIGNED_TEXT
    bool, float32, float64        BOOLEAN, FLOAT4, DOUBLE
    text, bytes                   TEXT or VARCHAR(n), BLOB or BLOB(n)
    date, time, timestamp(tz)     DATE, TIME, TIMESTAMP, TIMESTAMPTZ: no such text looks like a number
    decimal, uuid, json, enum     DECIMAL_TEXT(p,s), UUID_TEXT, JSON_TEXT, ENUM_TEXT
    interval                      DURATION_TEXT ('INTERVAL' has the letters INT, and so integer affinity)
    array                         ARRAY_TEXT(what is declared for its element)
    opaque of another system      OPAQUE_TEXT(the system:its name of the type)

The last two name what may have the letters INT, or signs that a type has only between quotes: a tilde keeps
letters apart (`OPAQUE_TEXT(postgres:poin~t)`), and `spell` sets the quotes.

A type that an application declared otherwise keeps its declaration in `Type.name`, so that a copy in
another SQLite file is declared the same. A declared type that is none of these and says nothing (none at
all, a made-up name) is `opaque(sqlite, …)`: any value may stand there, and only SQLite holds it.
"""

from __future__ import annotations

import re
from dataclasses import replace

from ...model import Kind, Type
from .connection import quote

SYSTEM = "sqlite"

_WRITTEN: dict[Kind, str] = {
    Kind.BOOL: "BOOLEAN",
    Kind.INT8: "INT1",
    Kind.INT16: "INT2",
    Kind.INT32: "INT4",
    Kind.INT64: "INTEGER",
    Kind.UINT8: "UINT1",
    Kind.UINT16: "UINT2",
    Kind.UINT32: "UINT4",
    Kind.UINT64: "UNSIGNED_TEXT",
    Kind.FLOAT32: "FLOAT4",
    Kind.FLOAT64: "DOUBLE",
    Kind.DECIMAL: "DECIMAL_TEXT",
    Kind.TEXT: "TEXT",
    Kind.BYTES: "BLOB",
    Kind.DATE: "DATE",
    Kind.TIME: "TIME",
    Kind.TIMESTAMP: "TIMESTAMP",
    Kind.TIMESTAMPTZ: "TIMESTAMPTZ",
    Kind.INTERVAL: "DURATION_TEXT",
    Kind.UUID: "UUID_TEXT",
    Kind.JSON: "JSON_TEXT",
    Kind.ENUM: "ENUM_TEXT",
}
_NAMED: dict[str, Kind] = {name: kind for kind, name in _WRITTEN.items()} | {
    "BOOL": Kind.BOOL,
    "DATETIME": Kind.TIMESTAMP,
    "TIMESTAMP WITHOUT TIME ZONE": Kind.TIMESTAMP,
    "TIMESTAMP WITH TIME ZONE": Kind.TIMESTAMPTZ,
    "TIME WITHOUT TIME ZONE": Kind.TIME,
    "DECIMAL": Kind.DECIMAL,
    "NUMERIC": Kind.DECIMAL,
    "DEC": Kind.DECIMAL,
    "MONEY": Kind.DECIMAL,
    "UUID": Kind.UUID,
    "JSON": Kind.JSON,
    "BINARY": Kind.BYTES,
    "VARBINARY": Kind.BYTES,
    "BYTEA": Kind.BYTES,
}
_SHAPE = re.compile(
    r"^(?P<name>[^(]*?)\s*(?:\(\s*(?P<first>\d+)\s*(?:,\s*(?P<second>[+-]?\d+)\s*)?\)\s*(?P<rest>.*))?$"
)
_NAMING = re.compile(r"(ARRAY|OPAQUE)_TEXT\((.*)\)", re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z_][\w ]*(\(\s*[+-]?\d+\s*(,\s*[+-]?\d+\s*)?\))?", re.ASCII)


def affinity(declared: str) -> str:
    """The affinity of a declared type: INTEGER, TEXT, BLOB, REAL or NUMERIC."""
    text = declared.upper()
    if "INT" in text:
        return "INTEGER"
    if any(word in text for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if "BLOB" in text or not text:
        return "BLOB"
    return "REAL" if any(word in text for word in ("REAL", "FLOA", "DOUB")) else "NUMERIC"


def declare(kind: Type) -> str:
    """The declared type that holds this canonical type exactly; KeyError for one that has none."""
    written = _declare(kind)
    if kind.system != SYSTEM and kind.kind in (Kind.ARRAY, Kind.OPAQUE):
        return re.sub("(in)(t)", r"\1~\2", written.replace("~", "~~"), flags=re.IGNORECASE)
    return written


def _declare(kind: Type) -> str:
    if kind.system == SYSTEM:
        return kind.name
    if kind.kind is Kind.ARRAY and kind.element is not None:
        return f"ARRAY_TEXT({_declare(kind.element)})"
    if kind.kind is Kind.OPAQUE and kind.system and kind.name:
        return f"OPAQUE_TEXT({kind.system}:{kind.name})"
    written = _WRITTEN[kind.kind]
    if kind.kind is Kind.TEXT and kind.length is not None:
        return f"VARCHAR({kind.length})"
    if kind.kind is Kind.BYTES and kind.length is not None:
        return f"BLOB({kind.length})"
    if kind.kind is Kind.DECIMAL and kind.precision is not None:
        return f"{written}({kind.precision},{kind.scale or 0})"
    return written


def spell(declared: str) -> str:
    """A declared type as a statement names it: between quotes where it is more than words and numbers."""
    return declared if not declared or _PLAIN.fullmatch(declared) else quote(declared)


def as_stored(kind: Type) -> Type:
    """The type of a column whose values travel as they are stored, whatever their class and spelling."""
    return Type(Kind.OPAQUE, system=SYSTEM, name=declare(kind))


def holds(kind: Type) -> bool:
    """Whether SQLite has an exact form for this type."""
    if kind.kind is Kind.ARRAY and kind.system != SYSTEM:
        return kind.element is not None and holds(kind.element)
    if kind.kind is Kind.OPAQUE:
        return bool(kind.system == SYSTEM or (kind.system and kind.name))
    return kind.kind in _WRITTEN or kind.system == SYSTEM


def canonical(declared: str) -> Type:
    """What a declared type means; with the declaration as `name` where `declare` would write another."""
    if _NAMING.fullmatch(declared):
        named = _named(re.sub("~(.)", r"\1", declared, flags=re.DOTALL))
        if named is not None and declare(named) == declared:
            return named
    text = " ".join(declared.upper().split())
    shape = _SHAPE.match(text)
    if shape is None:
        return _by_affinity(declared, text, None)
    name = " ".join(filter(None, (shape["name"], shape["rest"])))
    first = int(shape["first"]) if shape["first"] else None
    kind = _NAMED.get(name)
    if kind is None:
        meaning = _by_affinity(declared, name, first)
    elif kind is Kind.DECIMAL:
        scale = int(shape["second"] or 0) if first is not None else None
        meaning = Type(kind, precision=first, scale=scale)
    elif kind is Kind.BYTES:
        meaning = Type(kind, length=first)
    else:
        meaning = Type(kind)
    if meaning.system or text in (declare(meaning), "BIGINT"):
        return meaning
    return replace(meaning, system=SYSTEM, name=declared)


def _named(written: str) -> Type | None:
    """The array or the other system's type that `_declare` wrote; None when it did not write this."""
    found = _NAMING.fullmatch(written)
    if found is None:
        return None
    if found[1] == "OPAQUE":
        system, _, name = found[2].partition(":")
        return Type(Kind.OPAQUE, system=system, name=name) if system != SYSTEM and system and name else None
    element = _named(found[2]) or canonical(found[2])
    return None if element.system == SYSTEM else Type(Kind.ARRAY, element=element)


def _by_affinity(declared: str, name: str, length: int | None) -> Type:
    match affinity(name):
        case "INTEGER":
            return Type(Kind.INT64)
        case "TEXT":
            return Type(Kind.TEXT, length=length)
        case "BLOB" if name:
            return Type(Kind.BYTES, length=length)
        case "REAL":
            return Type(Kind.FLOAT64)
    return Type(Kind.OPAQUE, system=SYSTEM, name=declared)

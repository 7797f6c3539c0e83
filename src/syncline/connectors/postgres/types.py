"""PostgreSQL's types and the canonical ones.

A type whose canonical kind alone would lose something carries PostgreSQL's own name of it (`varchar` without
its kind is text, `jsonb` is json, `timestamp(3)` is a timestamp), so that a copy in another PostgreSQL has
the very same type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...model import Kind, Type

SYSTEM = "postgres"

_NATIVE: dict[Kind, str] = {
    Kind.BOOL: "boolean",
    Kind.INT8: "smallint",
    Kind.INT16: "smallint",
    Kind.INT32: "integer",
    Kind.INT64: "bigint",
    Kind.UINT8: "smallint",
    Kind.UINT16: "integer",
    Kind.UINT32: "bigint",
    Kind.UINT64: "numeric(20,0)",
    Kind.FLOAT32: "real",
    Kind.FLOAT64: "double precision",
    Kind.DECIMAL: "numeric",
    Kind.TEXT: "text",
    Kind.BYTES: "bytea",
    Kind.DATE: "date",
    Kind.TIME: "time without time zone",
    Kind.TIMESTAMP: "timestamp without time zone",
    Kind.TIMESTAMPTZ: "timestamp with time zone",
    Kind.INTERVAL: "interval",
    Kind.UUID: "uuid",
    Kind.JSON: "json",
    Kind.ENUM: "text",
}

_KINDS: dict[str, Kind] = {
    "bool": Kind.BOOL,
    "int2": Kind.INT16,
    "int4": Kind.INT32,
    "int8": Kind.INT64,
    "float4": Kind.FLOAT32,
    "float8": Kind.FLOAT64,
    "numeric": Kind.DECIMAL,
    "text": Kind.TEXT,
    "varchar": Kind.TEXT,
    "bpchar": Kind.TEXT,
    "bytea": Kind.BYTES,
    "date": Kind.DATE,
    "time": Kind.TIME,
    "timestamp": Kind.TIMESTAMP,
    "timestamptz": Kind.TIMESTAMPTZ,
    "interval": Kind.INTERVAL,
    "uuid": Kind.UUID,
    "json": Kind.JSON,
    "jsonb": Kind.JSON,
}


@dataclass(frozen=True, slots=True)
class ServerType:
    """A row of pg_type: its names, its sort and category, and the oids of what it is made of."""

    oid: int
    namespace: str
    name: str
    sort: str
    category: str
    element: int
    base: int
    base_modifier: int
    labels: Sequence[str]


def native(type: Type) -> str:
    """The name of the PostgreSQL type that holds a canonical type exactly; '' when there is none."""
    if type.system == SYSTEM and type.name:
        return type.name
    if type.kind is Kind.ARRAY:
        element = native(type.element) if type.element else ""
        return f"{element}[]" if element else ""
    if type.kind is Kind.TEXT and type.length is not None:
        return f"character varying({type.length})"
    if type.kind is Kind.DECIMAL and type.precision is not None and type.system == SYSTEM:
        return f"numeric({type.precision},{type.scale or 0})"
    return _NATIVE.get(type.kind, "")


def wanted(type: Type, system: str) -> str:
    """The type of a column that is to hold another system's cells.

    Where a system's decimals keep the digits they were written with, a scale would pad or round them, and
    where its lengths are not enforced they mean nothing (Promise 3): only PostgreSQL's own are kept.
    """
    if system == SYSTEM:
        return native(type if type.system else replace(type, system=SYSTEM))
    if type.kind is Kind.TEXT:
        return "text"
    return native(type)


def canonical(oid: int, modifier: int, formatted: str, types: Mapping[int, ServerType]) -> Type:
    """The canonical type of a column; `formatted` is format_type's name of it."""
    meaning = _meaning(oid, modifier, types)
    if meaning.kind in (Kind.OPAQUE, Kind.ENUM):
        return replace(meaning, system=SYSTEM, name=formatted)
    if native(replace(meaning, system=SYSTEM, name="")) == formatted:
        return meaning
    return replace(meaning, system=SYSTEM, name=formatted)


def _meaning(oid: int, modifier: int, types: Mapping[int, ServerType]) -> Type:
    own = types[oid]
    if own.sort == "d":
        # The labels are those of the enum below: nobody makes an enum by the domain's name.
        return replace(_meaning(own.base, own.base_modifier, types), labels=())
    if own.sort == "e":
        return Type(Kind.ENUM, labels=tuple(own.labels), system=SYSTEM, name=qualified(own))
    if own.category == "A" and own.element in types and own.name not in ("int2vector", "oidvector"):
        element = _meaning(own.element, modifier, types)
        inner = types[own.element]
        if not element.name and inner.sort != "b":
            element = replace(element, system=SYSTEM, name=qualified(inner))
        return Type(Kind.ARRAY, element=element)
    kind = _KINDS.get(own.name) if own.namespace == "pg_catalog" else None
    if own.name == "citext":
        kind = Kind.TEXT
    if kind is None:
        return Type(Kind.OPAQUE, system=SYSTEM, name=qualified(own))
    if kind is Kind.DECIMAL and modifier >= 4:
        # numeric's modifier: 16 bits of precision, 11 bits of scale, which may be negative since 15.
        scale = ((modifier - 4) & 0x7FF ^ 1024) - 1024
        return Type(kind, precision=(modifier - 4) >> 16, scale=scale)
    if kind is Kind.TEXT and modifier >= 4:
        return Type(kind, length=modifier - 4)
    return Type(kind)


def qualified(own: ServerType) -> str:
    """A type's name, with its schema unless it is PostgreSQL's own."""
    name = quoted(own.name)
    return name if own.namespace == "pg_catalog" else f"{quoted(own.namespace)}.{name}"


def quoted(name: str) -> str:
    """An identifier as format_type writes it."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name):
        return name
    return '"' + name.replace('"', '""') + '"'

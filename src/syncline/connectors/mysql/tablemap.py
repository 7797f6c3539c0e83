"""A table as a TABLE_MAP event tells it: valid for the row events after it, whatever the catalog says now.

Format: MySQL source, libs/mysql/binlog/event/rows_event.h, Table_map_event, with its optional metadata, which
`binlog_row_metadata = FULL` writes; MariaDB writes the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ...errors import NeedsOperator
from ...kernels import binlog as kernel
from ...kernels.binlog import Cell
from .events import Bytes

TINY, SHORT, LONG, FLOAT, DOUBLE, LONGLONG, INT24, DATE, YEAR = 1, 2, 3, 4, 5, 8, 9, 10, 13
VARCHAR, BIT, TIMESTAMP2, DATETIME2, TIME2 = 15, 16, 17, 18, 19
VECTOR, JSON, NEWDECIMAL, ENUM, SET, BLOB, STRING, GEOMETRY = 242, 245, 246, 247, 248, 252, 254, 255

_INTEGERS: Final = {TINY: 1, SHORT: 2, INT24: 3, LONG: 4, LONGLONG: 8}
_TEMPORAL: Final = {
    TIMESTAMP2: (4, kernel.TIMESTAMP),
    DATETIME2: (5, kernel.DATETIME),
    TIME2: (3, kernel.TIME),
}
_NUMERIC: Final = {*_INTEGERS, YEAR, NEWDECIMAL, FLOAT, DOUBLE}
"""The types that have a sign in the log, or none."""

_TEXTS: Final = {STRING, VARCHAR, BLOB}
"""Those that have a collation there; in MariaDB GEOMETRY has one as well."""


_LONG: Final = {BLOB, GEOMETRY, JSON, VECTOR}

# Metadata of two bytes, and of one; all other types have none.
_TWO_BYTES: Final = {VARCHAR, BIT, NEWDECIMAL, STRING, 141}
_ONE_BYTE: Final = {FLOAT, DOUBLE, *_LONG, *_TEMPORAL, 140}

_FOREIGN: Final = {
    7: "the TIMESTAMP of MySQL before 5.6",
    11: "the TIME of MySQL before 5.6",
    12: "the DATETIME of MySQL before 5.6",
    140: "a compressed column (COMPRESSED)",
    141: "a compressed column (COMPRESSED)",
}


@dataclass(frozen=True, slots=True)
class MapColumn:
    """A column. `type` is a constant of this module; `length` is the most bytes of a text; `labels` are those
    of an ENUM or SET, in bytes of the collation; `cell` is how its cells lie in a row."""

    name: str
    type: int
    cell: Cell
    nullable: bool
    length: int = 0
    collation: int = 0
    labels: tuple[bytes, ...] = ()
    geometry: int = 0


@dataclass(frozen=True, slots=True)
class TableMap:
    """A table. `key` are the places of its primary key's columns; those in `prefixed` are in it by their
    first characters only."""

    database: str
    name: str
    columns: tuple[MapColumn, ...]
    key: tuple[int, ...]
    layout: kernel.Layout = field(compare=False)
    prefixed: tuple[int, ...] = ()


def read_table_map(body: Bytes, mariadb: bool) -> TableMap:
    """The table of an event's body, after its id and flags. ValueError and IndexError for what is malformed;
    NeedsOperator for metadata that is not full, and for a type whose cells cannot be told apart."""
    database, name = body.name(), body.name()
    subject = f"{database}.{name}"
    width = body.packed()
    types = body.take(width)
    meta = Bytes(body.take(body.packed()))
    shapes = [_shape(type, meta, subject) for type in types]
    meta.end()
    nullable = body.take((width + 7) // 8)
    told: dict[int, Bytes] = {}
    while body.left:
        kind = body.number(1)
        told[kind] = Bytes(body.take(body.packed()))
    if _NAMES not in told:
        raise NeedsOperator(
            *("follow", subject, "its row events lack the names of its columns"),
            "run: SET GLOBAL binlog_row_metadata = 'FULL'",
        )
    columns = _columns(shapes, nullable, told, {*_TEXTS, GEOMETRY} if mariadb else _TEXTS)
    key, prefixed = _key(told)
    if any(place >= width for place in key):
        raise ValueError("a key of a column that is not there")
    return TableMap(
        *(database, name, columns, key), kernel.Layout([column.cell for column in columns]), prefixed
    )


# Types of optional metadata.
_SIGNS, _CHARSET, _CHARSETS, _NAMES, _SET_LABELS, _ENUM_LABELS, _GEOMETRIES = range(1, 8)
_KEY, _PREFIX_KEY, _LABEL_CHARSET, _LABEL_CHARSETS = range(8, 12)


def _shape(type: int, meta: Bytes, subject: str) -> MapColumn:
    """What the type and its metadata tell of a column."""
    size = 2 if type in _TWO_BYTES else 1 if type in _ONE_BYTE else 0
    first, second = [*meta.take(size), 0, 0][:2]
    length = 0
    if type in _INTEGERS:
        cell = Cell(_INTEGERS[type], kernel.SIGNED)
    elif type in _TEMPORAL:
        if first > 6:
            raise ValueError(f"a fraction of {first} digits")
        base, form = _TEMPORAL[type]
        cell = Cell(base + (first + 1) // 2, form, first)
    elif type in (FLOAT, DOUBLE):
        cell = Cell(4, kernel.FLOAT) if type == FLOAT else Cell(8, kernel.DOUBLE)
        if first != cell.size:
            raise ValueError(f"a floating point number of {first} bytes")
    elif type == DATE:
        cell = Cell(3, kernel.DATE)
    elif type == YEAR:
        cell = Cell(1, kernel.YEAR)
    elif type == BIT:
        if first > 7 or not 0 < first + 8 * second <= 64:
            raise ValueError(f"{first + 8 * second} bits")
        cell = Cell(second + (first > 0), kernel.BITS)
    elif type == NEWDECIMAL:
        if not 0 < first <= 65 or second > min(first, 38):
            raise ValueError(f"a decimal of {first} digits, {second} behind the point")
        cell = Cell(kernel.decimal_size(first, second), kernel.DECIMAL, first, second)
    elif type == STRING and first in (ENUM, SET):
        type = first
        if second not in ((1, 2) if type == ENUM else (1, 2, 3, 4, 8)):
            raise ValueError(f"labels by numbers of {second} bytes")
        cell = Cell(second, kernel.UNSIGNED)
    elif type in (STRING, VARCHAR):
        length = first | second << 8 if type == VARCHAR else second | ((first & 0x30) ^ 0x30) << 4
        cell = Cell(-2 if length > 255 else -1, kernel.BYTES)
    elif type in _LONG:
        if not 1 <= first <= 4:
            raise ValueError(f"a length of {first} bytes")
        cell = Cell(-first, kernel.BYTES)
    elif type in _FOREIGN:
        raise NeedsOperator(
            *("follow", subject, f"it has a column of a type that is not read: {_FOREIGN[type]}"),
            "exclude the table, or give the column another type",
        )
    else:
        raise ValueError(f"the unknown type {type}")
    return MapColumn("", type, cell, False, length)


def _columns(
    shapes: list[MapColumn], nullable: bytes, told: dict[int, Bytes], collated: set[int]
) -> tuple[MapColumn, ...]:
    """The columns with all that the optional metadata tells of them."""
    texts = [at for at, shape in enumerate(shapes) if shape.type in collated]
    labelled = [at for at, shape in enumerate(shapes) if shape.type in (ENUM, SET)]
    collations = dict(zip(texts, _collations(told, _CHARSET, _CHARSETS, len(texts)), strict=True))
    found = _collations(told, _LABEL_CHARSET, _LABEL_CHARSETS, len(labelled))
    collations.update(zip(labelled, found, strict=True))
    signs = told[_SIGNS].take(told[_SIGNS].left) if _SIGNS in told else b""
    names = told[_NAMES]
    columns = []
    numeric = 0
    for at, shape in enumerate(shapes):
        cell = shape.cell
        labels: tuple[bytes, ...] = ()
        geometry = 0
        if shape.type in _NUMERIC:
            unsigned = signs[numeric >> 3] >> (7 - (numeric & 7)) & 1 if signs else 0
            numeric += 1
            if unsigned and cell.form == kernel.SIGNED:
                cell = cell._replace(form=kernel.UNSIGNED)
        elif shape.type in (ENUM, SET):
            source = told[_ENUM_LABELS if shape.type == ENUM else _SET_LABELS]
            labels = tuple(source.text() for _ in range(source.packed()))
        elif shape.type == GEOMETRY and _GEOMETRIES in told:
            geometry = told[_GEOMETRIES].packed()
        columns.append(
            replace(
                shape,
                name=names.text().decode(),
                cell=cell,
                nullable=bool(nullable[at >> 3] >> (at & 7) & 1),
                collation=collations.get(at, 0),
                labels=labels,
                geometry=geometry,
            )
        )
    names.end()
    return tuple(columns)


def _collations(told: dict[int, Bytes], default: int, each: int, count: int) -> Sequence[int]:
    """The collations of so many columns: one for most and the exceptions, or one for each."""
    if each in told:
        return [told[each].packed() for _ in range(count)]
    if default not in told:
        return [0] * count
    source = told[default]
    collations = [source.packed()] * count
    for place, collation in _pairs(source):
        collations[place] = collation
    return collations


def _key(told: dict[int, Bytes]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if _PREFIX_KEY in told:
        pairs = list(_pairs(told[_PREFIX_KEY]))
        return tuple(place for place, _ in pairs), tuple(place for place, size in pairs if size)
    key = []
    while _KEY in told and told[_KEY].left:
        key.append(told[_KEY].packed())
    return tuple(key), ()


def _pairs(source: Bytes) -> Iterator[tuple[int, int]]:
    while source.left:
        yield source.packed(), source.packed()

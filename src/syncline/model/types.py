"""Canonical types: what a column means, whichever system holds it.

A cell travels in one of seven Arrow types. Whatever Arrow has no exact type for travels as canonical
text, so that NaN and infinite decimals, infinite and BC dates and any precision pass unharmed:

    bool                    boolean
    int8 … int64            int64
    uint8 … uint32          int64;  uint64: uint64
    float32, float64        float32, float64
    bytes                   binary
    decimal                 text: digits as they are stored, '1.10' stays '1.10'; NaN, Infinity, -Infinity
    date, time, timestamp   text: '2024-02-29', '23:59:59.5', '2024-02-29 23:59:59.5'; no trailing zeros
    timestamptz             text in UTC: '2024-02-29 23:59:59.5+00'
    interval                text: ISO 8601
    uuid                    text: lower case with dashes
    text, json, enum        text
    array                   text: an array literal as PostgreSQL writes it
    opaque                  text: its own system's text form
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ..words import Kind

SIGNED = {Kind.INT8, Kind.INT16, Kind.INT32, Kind.INT64}
INTEGERS = SIGNED | {Kind.UINT8, Kind.UINT16, Kind.UINT32, Kind.UINT64}

_ARROW: dict[Kind, pa.DataType] = {
    Kind.BOOL: pa.bool_(),
    Kind.UINT64: pa.uint64(),
    Kind.FLOAT32: pa.float32(),
    Kind.FLOAT64: pa.float64(),
    Kind.BYTES: pa.binary(),
} | {kind: pa.int64() for kind in INTEGERS - {Kind.UINT64}}


@dataclass(frozen=True, slots=True)
class Type:
    """A canonical type.

    `length` is in characters (text) or bytes (bytes) and None where unbounded; `precision` and `scale`
    belong to decimals (both None: any); `element` to arrays; `labels` to enums; `system` and `name` to
    opaque types, and `name` to enums, where it is the type's own name in the system it came from.
    """

    kind: Kind
    length: int | None = None
    precision: int | None = None
    scale: int | None = None
    element: Type | None = None
    labels: tuple[str, ...] = ()
    system: str = ""
    name: str = ""

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type that the cells travel in."""
        return _ARROW.get(self.kind, pa.string())

    def __str__(self) -> str:
        match self.kind:
            case Kind.DECIMAL if self.precision is not None:
                return f"decimal({self.precision},{self.scale or 0})"
            case Kind.ARRAY:
                return f"array({self.element})"
            case Kind.OPAQUE | Kind.ENUM if self.name:
                return f"{self.kind}({', '.join(filter(None, (self.system, self.name)))})"
        return f"{self.kind}({self.length})" if self.length is not None else str(self.kind)

    def to_json(self) -> dict[str, Any]:
        """The persisted form; empty members are left out."""
        members = {
            "kind": str(self.kind),
            "length": self.length,
            "precision": self.precision,
            "scale": self.scale,
            "element": self.element.to_json() if self.element else None,
            "labels": list(self.labels) or None,
            "system": self.system or None,
            "name": self.name or None,
        }
        return {name: value for name, value in members.items() if value is not None}

    @classmethod
    def from_json(cls, members: dict[str, Any]) -> Type:
        """The type that `to_json` wrote."""
        element = members.get("element")
        return cls(
            kind=Kind(members["kind"]),
            length=members.get("length"),
            precision=members.get("precision"),
            scale=members.get("scale"),
            element=cls.from_json(element) if element else None,
            labels=tuple(members.get("labels", ())),
            system=members.get("system", ""),
            name=members.get("name", ""),
        )

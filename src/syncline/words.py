"""Words that are persisted and written: the states of a table, the kinds of a type.

Light to import: what only shows them, or checks that one is known, loads nothing else.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """The states of a table, and who sets them.

    COPYING      the copy, in the transaction that puts the spans into the ledger
    CATCHING_UP  the copy, once every span is done; the goal is recorded with it
    LIVE         the applier, at the first position that is not before the goal
    GAP          the start of a run, when the log between position and now is lost
    FAILED       the applier, when the table's changes cannot be applied; the detail says why
    """

    COPYING = "copying"
    CATCHING_UP = "catching up"
    LIVE = "live"
    GAP = "gap"
    FAILED = "failed"


class Kind(StrEnum):
    """The kinds of canonical types."""

    BOOL = "bool"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    DECIMAL = "decimal"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    TEXT = "text"
    BYTES = "bytes"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    TIMESTAMPTZ = "timestamptz"
    INTERVAL = "interval"
    UUID = "uuid"
    JSON = "json"
    ARRAY = "array"
    ENUM = "enum"
    OPAQUE = "opaque"

"""Compares whole tables by digest while the source goes on changing.

The order makes a verdict under writes sound, at the grain of tables (Race 23): floor, source digest,
ceiling, apply exactly up to the ceiling, target digest. What was touched between floor and ceiling and
differs is looked at again, and only what was not touched can be called different.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Protocol

from ..connector import Notice, Source, Target
from ..model import Deletes, Digest, Position, Rows, Schema, TableName
from .digests import digest

LOOKS = 3


class Finding(StrEnum):
    """What can be said of a table."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNPROVEN = "unproven"


class Follower(Protocol):
    """What brings the target to a position: the stream's owner."""

    touched: Counter[TableName]

    def catch_up(self, until: Position) -> None:
        """Apply what lies at or before `until`; what is applied is counted in `touched`."""


def compare(
    source: Source,
    target: Target,
    schemas: Sequence[Schema],
    follower: Follower,
    notice: Notice,
    looking: Callable[[TableName], None],
    parked: Callable[[Schema], Rows],
) -> dict[TableName, Finding]:
    """Find which tables hold equal rows at both ends, at one position (Promise 9).

    Equal means that the target at the ceiling holds what the source held at some moment of the look;
    different, that the source stood still for the whole look and the target holds other rows. The rows of
    `parked` keys, which are known to differ, are left out at both ends.
    """

    findings: dict[TableName, Finding] = {}
    waiting = list(schemas)
    for _ in range(LOOKS):
        if not waiting:
            break
        follower.catch_up(source.floor(notice))
        follower.touched.clear()
        wanted: dict[TableName, Digest] = {}
        for schema in waiting:
            looking(schema.table)
            wanted[schema.table] = digest(source, source, target, schema, parked(schema))
        follower.catch_up(source.ceiling())
        unequal: list[Schema] = []
        for schema in waiting:
            if digest(target, source, target, schema, parked(schema)) == wanted[schema.table]:
                findings[schema.table] = Finding.EQUAL
            else:
                unequal.append(schema)
        if any(schema.deletes is Deletes.IGNORE for schema in unequal):
            # Of these the source was read once more, so that it must have stood still up to now.
            follower.catch_up(source.ceiling())
        for schema in unequal:
            if not follower.touched[schema.table]:
                findings[schema.table] = Finding.DIFFERENT
        waiting = [schema for schema in waiting if schema.table not in findings]
    return findings | {schema.table: Finding.UNPROVEN for schema in waiting}


def compare_at_rest(source: Source, target: Target, schemas: Iterable[Schema]) -> dict[TableName, Finding]:
    """Find which tables hold equal rows right now, without a stream: one that changes may look different."""
    return {
        schema.table: Finding.EQUAL
        if digest(source, source, target, schema) == digest(target, source, target, schema)
        else Finding.DIFFERENT
        for schema in schemas
    }

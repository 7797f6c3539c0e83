"""The order of tables by their foreign keys."""

from __future__ import annotations

from collections.abc import Iterable
from graphlib import TopologicalSorter

from ..model import Schema, TableName


def parents_first(schemas: Iterable[Schema]) -> list[TableName]:
    """Tables such that a parent stands before its children; in a cycle, by name."""
    by_name = {schema.table: schema for schema in sorted(schemas, key=lambda schema: schema.table)}
    placed: dict[TableName, None] = {}
    sorter = TopologicalSorter[TableName]()
    for table in by_name:
        sorter.add(table)
    for table, schema in by_name.items():
        for foreign in schema.foreign_keys:
            if foreign.parent in by_name and not _reaches(by_name, foreign.parent, table):
                sorter.add(table, foreign.parent)
    for table in sorter.static_order():
        placed[table] = None
    return list(placed)


def generations(schemas: Iterable[Schema]) -> list[list[TableName]]:
    """Tables in groups such that every parent stands in an earlier group than its children."""
    by_name = {schema.table: schema for schema in schemas}
    depth: dict[TableName, int] = {}
    for table in parents_first(by_name.values()):
        parents = [
            depth[foreign.parent] for foreign in by_name[table].foreign_keys if foreign.parent in depth
        ]
        depth[table] = max(parents, default=-1) + 1
    return [[table for table in depth if depth[table] == level] for level in sorted(set(depth.values()))]


def _reaches(schemas: dict[TableName, Schema], start: TableName, goal: TableName) -> bool:
    """Whether `goal` is `start` or one of its ancestors, so that a reference back would close a circle."""
    seen, waiting = {start}, [start]
    while waiting:
        table = waiting.pop()
        if table == goal:
            return True
        for foreign in schemas[table].foreign_keys:
            if foreign.parent in schemas and foreign.parent not in seen:
                seen.add(foreign.parent)
                waiting.append(foreign.parent)
    return False

"""Asking for tables to be copied anew: kept in the target, where the stream's owner finds it (Promise 1)."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from ..errors import Refused
from .pairs import Pair
from .stores import source_opener, target_opener

if TYPE_CHECKING:
    from ..connector import Claim, Source, Target
    from ..model import TableName


def resync(pair: Pair, words: Sequence[str]) -> list[TableName]:
    """Ask for the tables of these names or globs to be copied anew beside what the target has of them, then
    swapped in; without any, for all of the stream. The tables, by their names at the source.

    A table that the stream has not yet must be named: the rows that the target holds in it are given up.
    Refused for a name that means nothing, and for stores between which no stream is."""
    open_source, open_target = source_opener(pair.source), target_opener(pair.target)

    from ..engine.transform.source import TransformedSource

    origin = TransformedSource(open_source(), pair.options.rules)
    with closing(origin), closing(open_target()) as target:
        return _ask(pair, origin, target, words)


def _ask(pair: Pair, source: Source, target: Target, words: Sequence[str]) -> list[TableName]:
    from ..engine.gap import find_former
    from ..engine.shared import side_name
    from ..model.position import stream_name

    stream = stream_name(source.identity(), target.identity(), pair.options.pipeline)
    known = target.peek(stream)
    former = find_former(stream, source, target, pair.options) if known is None else None
    if former is not None:
        return _ask_former(pair, former, target, words)
    tables = _tables_of(known) | _tables_of(target.peek(side_name(stream)))
    if known is None and not pair.options.pipeline:
        raise Refused(
            "resync",
            f"{source.name} to {target.name}",
            "no stream is between them",
            "use syncline sync FROM TO --replace",
        )
    if known is None and not words:
        remedy = f"name the tables: syncline resync {pair.name} TABLE, or start it with syncline run"
        raise Refused("resync", f"pipeline {pair.name}", "it has no tables yet", remedy)
    chosen = tables
    if words:
        chosen = _choose(tables | _addable(pair, source, target), words, source.name)
    if known is None:
        target.claim(stream)  # makes the bookkeeping, and supersedes nobody
    target.ask_anew(stream, list(chosen.values()))
    return list(chosen)


def _ask_former(pair: Pair, former: Claim, target: Target, words: Sequence[str]) -> list[TableName]:
    """Another source stands in the place of the stream's own: everything begins anew or nothing."""
    if words:
        why = "its source is another one than it was, so that all of its tables must be copied anew"
        remedy = f"run syncline resync {pair.name} without tables"
        raise Refused("resync", f"single tables of pipeline {pair.name}", why, remedy)
    tables = _tables_of(former)
    target.ask_anew(former.stream, list(tables.values()))
    return list(tables)


def _tables_of(claim: Claim | None) -> dict[TableName, TableName]:
    """The tables of a stream by their names at the source."""
    states = claim.tables.values() if claim else ()
    return {state.schema.source_table: state.schema.table for state in states}


def _addable(pair: Pair, source: Source, target: Target) -> dict[TableName, TableName]:
    """The tables that the pipeline's next run would add."""
    from ..engine.plan import discover, is_chosen

    if not pair.options.pipeline:
        return {}
    found = discover(source, target)
    return {schema.source_table: schema.table for schema in found if is_chosen(schema, pair.options)}


def _choose(
    tables: dict[TableName, TableName], words: Sequence[str], name: str
) -> dict[TableName, TableName]:
    chosen: dict[TableName, TableName] = {}
    for word in words:
        found = {
            source: table
            for source, table in tables.items()
            if source.matches(word) or str(source) == word or str(table) == word
        }
        if not found:
            there = ", ".join(map(str, tables)) or "none"
            near = difflib.get_close_matches(word, map(str, tables), 1)
            remedy = f"did you mean {near[0]}?" if near else f"it has {there}"
            raise Refused("resync", f"table {word}", f"the stream from {name} has no such table", remedy)
        chosen |= found
    return chosen

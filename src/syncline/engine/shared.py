"""Streams between the same two stores: their names, and that no table is of two of them."""

from __future__ import annotations

from collections.abc import Collection

from ..connector import Target
from ..errors import Refused
from ..model import Identity, TableName
from ..model.position import stream_name
from .report import Options


def side_name(stream: str) -> str:
    """The name of the stream that brings added tables up to the main one."""
    return f"{stream}_side"


def refuse_shared(
    stream: str, source: Identity, target: Target, tables: Collection[TableName], options: Options
) -> None:
    """Raise Refused when another stream from this source writes one of these tables here: a row would have
    two writers, each with a position of its own (Promise 2)."""
    own = {stream, side_name(stream), stream.removesuffix("_side")}
    names = {stream_name(source, target.identity(), name): f"pipeline {name}" for name in options.pipelines}
    names[stream_name(source, target.identity())] = "syncline sync FROM TO, without a pipeline,"
    for other in target.streams():
        claim = target.peek(other) if other not in own else None
        if claim is None or claim.removing or claim.source is None or claim.source.id != source.id:
            continue
        for table in tables:
            if table in claim.tables:
                owner = names.get(other.removesuffix("_side"), f"stream {other}")
                raise Refused(
                    "sync",
                    f"table {table}",
                    f"{owner} keeps it equal already, between the same two stores",
                    "leave it out of one of the two with exclude, or take that one away with remove",
                )

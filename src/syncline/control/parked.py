"""The parked keys of a pair of stores: which they are, asking for another try, giving them up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import Refused
from .pairs import Pair
from .stores import source_opener, target_opener

if TYPE_CHECKING:
    from ..connector import Source, Target
    from ..model import Parked, Schema

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Shown:
    """A parked key beside its row as the source has it now, through the pipeline's rules, so that a masked
    column stays masked. `row` is None where there is none to show: `why` says so."""

    entry: Parked
    row: dict[str, Any] | None
    why: str = ""


def parked(pair: Pair) -> list[Parked]:
    """All parked keys of the pipeline, or of the streams between two stores."""
    return _ask(pair, lambda _, store, streams: [key for name in streams for key in store.parked(name)])


def show(pair: Pair, table: str | None, keys: Sequence[str]) -> list[Shown]:
    """The parked keys that are meant, with their rows. Refused when none is parked."""

    def look(source: Source, target: Target, streams: Sequence[str]) -> list[Shown]:
        from ..engine.plan import discover

        now = {schema.table: schema for schema in discover(source, target)}
        shown: list[Shown] = []
        for stream in streams:
            claim = target.peek(stream)
            for entry in _meant(target, stream, table, keys):
                schema = claim.tables[entry.table].schema if claim and entry.table in claim.tables else None
                shown.append(_look_up(source, entry, schema, now.get(entry.table)))
        if not shown:
            raise _nothing(table, keys)
        return shown

    return _ask(pair, look)


def _look_up(source: Source, entry: Parked, schema: Schema | None, now: Schema | None) -> Shown:
    from ..model import Rows

    if schema is None or now is None:
        return Shown(entry, None, "the source has no such table any more")
    if (schema.transformed and schema.transformed.rules) != (now.transformed and now.transformed.rules):
        return Shown(entry, None, "it was carried by other rules than are known here")
    rows = source.read_keys(schema, Rows.of_keys(schema.key_columns, [entry.key]))
    if rows.refused:
        return Shown(entry, None, f"its value is none of its type: {rows.refused[0].reason}")
    if not rows.count:
        return Shown(entry, None, "the source has no such row any more")
    cells = next(iter(rows.tuples()))
    return Shown(entry, dict(zip(rows.columns, cells, strict=True)))


def retry(pair: Pair, table: str | None, keys: Sequence[str]) -> int:
    """Ask the run that owns the stream, now or the next time, to try these keys again; how many."""
    return _change(pair, table, keys, lambda store: store.ask_retry)


def drop(pair: Pair, table: str | None, keys: Sequence[str]) -> int:
    """Give these keys up: the target's rows stay as they are until they change; how many."""
    return _change(pair, table, keys, lambda store: store.drop_parked)


def show_key(entry: Parked) -> str:
    """A key as users see it and write it: its cells, with commas between them."""
    return ", ".join(str(cell) for cell in entry.key)


def _change(
    pair: Pair, table: str | None, keys: Sequence[str], method: Callable[[Target], Callable[..., int]]
) -> int:
    def change(_: Source, store: Target, streams: Sequence[str]) -> int:
        count = 0
        for stream in streams:
            chosen = _meant(store, stream, table, keys)
            for name in {entry.table for entry in chosen}:
                picked = [entry.key for entry in chosen if entry.table == name]
                count += method(store)(stream, name, picked)
        if not count:
            raise _nothing(table, keys)
        return count

    return _ask(pair, change)


def _meant(store: Target, stream: str, table: str | None, keys: Sequence[str]) -> list[Parked]:
    chosen = [entry for entry in store.parked(stream) if table in (None, str(entry.table))]
    return [entry for entry in chosen if not keys or show_key(entry) in keys]


def _nothing(table: str | None, keys: Sequence[str]) -> Refused:
    what = f"key {', '.join(keys)} of table {table}" if keys else table or "anything"
    return Refused("find", what, "no such key is parked", "see syncline parked list")


def _ask(pair: Pair, question: Callable[[Source, Target, Sequence[str]], Answer]) -> Answer:
    open_source, open_target = source_opener(pair.source), target_opener(pair.target)

    from ..engine.shared import side_name
    from ..engine.transform.source import TransformedSource
    from ..model.position import stream_name

    origin = TransformedSource(open_source(), pair.options.rules)
    with closing(origin), closing(open_target()) as store:
        here = origin.identity()
        own = stream_name(here, store.identity(), pair.options.pipeline)
        claims = [claim for name in store.streams() if (claim := store.peek(name))]
        streams = [claim.stream for claim in claims if claim.source and claim.source.id == here.id]
        if pair.options.pipeline:
            streams = [name for name in streams if name in (own, side_name(own))]
        return question(origin, store, streams)

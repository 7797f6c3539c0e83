"""The parked keys of a pair of stores: which they are, asking for another try, giving them up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

from ..errors import Refused
from .stores import source_opener, target_opener

if TYPE_CHECKING:
    from ..connector import Target
    from ..model import Parked

Answer = TypeVar("Answer")


def parked(source: str, target: str) -> list[Parked]:
    """All parked keys of the streams between two stores."""
    return _ask(
        source, target, lambda store, streams: [key for name in streams for key in store.parked(name)]
    )


def retry(source: str, target: str, table: str | None, keys: Sequence[str]) -> int:
    """Ask the run that owns the stream, now or the next time, to try these keys again; how many."""
    return _change(source, target, table, keys, lambda store: store.ask_retry)


def drop(source: str, target: str, table: str | None, keys: Sequence[str]) -> int:
    """Give these keys up: the target's rows stay as they are until they change; how many."""
    return _change(source, target, table, keys, lambda store: store.drop_parked)


def show_key(entry: Parked) -> str:
    """A key as users see it and write it: its cells, with commas between them."""
    return ", ".join(str(cell) for cell in entry.key)


def _change(
    source: str,
    target: str,
    table: str | None,
    keys: Sequence[str],
    method: Callable[[Target], Callable[..., int]],
) -> int:
    def change(store: Target, streams: Sequence[str]) -> int:
        count = 0
        for stream in streams:
            chosen = [entry for entry in store.parked(stream) if table in (None, str(entry.table))]
            if keys:
                chosen = [entry for entry in chosen if show_key(entry) in keys]
            for name in {entry.table for entry in chosen}:
                picked = [entry.key for entry in chosen if entry.table == name]
                count += method(store)(stream, name, picked)
        if not count:
            what = f"key {', '.join(keys)} of table {table}" if keys else table or "anything"
            raise Refused("find", what, "no such key is parked", "see syncline parked list")
        return count

    return _ask(source, target, change)


def _ask(source: str, target: str, question: Callable[[Target, Sequence[str]], Answer]) -> Answer:
    open_source, open_target = source_opener(source), target_opener(target)

    with closing(open_source()) as origin, closing(open_target()) as store:
        here = origin.identity().id
        claims = [claim for name in store.streams() if (claim := store.peek(name))]
        return question(store, [claim.stream for claim in claims if claim.source and claim.source.id == here])

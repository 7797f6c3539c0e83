"""Whole transactions of a server's binlog after a place in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from .decoder import Begin, Decoder, End, Part
from .dump import Dump, Place
from .gtid import GtidSet


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction: its rows by table and its statements, in the order of the log.

    `file` and `offset` are its end in the log, `known` the set that holds it and all that was read before it,
    None where it was not begun from one. One larger than the reader's bound comes in pieces, all but the last
    with `end` None and the `known`, `file` and `offset` of what was before it.
    """

    gtid: str
    parts: list[Part]
    end: End | None
    file: str
    offset: int
    known: GtidSet | None


class Reader:
    """Reads transactions from a Dump that was started at `place`."""

    def __init__(self, dump: Dump, place: Place) -> None:
        self._dump = dump
        self._decoder = Decoder()
        self._known = place.known
        self._gtid = ""
        self._ended = place.file, place.offset

    def read(self, *, max_bytes: int, max_wait: float) -> Iterator[Transaction]:
        """The transactions that arrive within `max_wait` seconds; the parts of none take much more than
        `max_bytes`. Errors: those of Dump and of Decoder."""
        deadline = time.monotonic() + max_wait
        while True:
            for event in self._dump.take(max(deadline - time.monotonic(), 0.0)):
                for told in self._decoder.feed(event):
                    if isinstance(told, Begin):
                        self._gtid = told.gtid
                    elif isinstance(told, End):
                        yield self._finish(told)
                    if self._decoder.nbytes >= max_bytes:
                        yield self._piece()
                if self._decoder.nbytes >= max_bytes:
                    yield self._piece()
            if time.monotonic() >= deadline:
                return

    def _piece(self) -> Transaction:
        return Transaction(self._gtid, self._decoder.take(), None, *self._ended, self._known)

    def _finish(self, end: End) -> Transaction:
        if self._known is not None and end.gtid:
            self._known = self._known.add(end.gtid)
        self._ended = self._decoder.file, self._decoder.offset
        return Transaction(end.gtid, self._decoder.take(), end, *self._ended, self._known)

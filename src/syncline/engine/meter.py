"""Measures how far a stream is behind while it works, and also while it does not."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import TracebackType
from typing import Self

from ..connector import Source
from ..errors import SynclineError
from ..model import Position
from .canary import Canary
from .pace import Pace
from .report import Observer
from .stores import Stores

MEASURE_SECONDS = 1.0


class Meter:
    """While its `with` is open, a thread tells the observer once a second how far the stream is behind, with
    the `canary`'s measure where one is sent.

    It has a connection of its own: an apply that waits for a lock at the target must not keep anybody from
    seeing that the source's log grows. Trouble with that connection stops nothing; the stream's own
    connections meet it too, and say so.
    """

    def __init__(
        self, stores: Stores, stream: str, applied: Position, observer: Observer, canary: Canary | None
    ) -> None:
        self._stores, self._stream, self._observer = stores, stream, observer
        self._applied = self._read = applied
        self._canary = canary
        self._ended = threading.Event()
        self._source: Source | None = None
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)

    def reach(self, position: Position, *, applied: bool) -> None:
        """Everything up to there was read, and is applied or needs no applying; `applied` when the target's
        position is there. From any thread."""
        self._read = position
        if applied:
            self._applied = position

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if (source := self._source) is not None:
            source.interrupt()
        self._thread.join()

    def _run(self) -> None:
        pace: Pace | None = None
        # The first look is late: what is over within a second needs no connection more.
        while not self._ended.wait(MEASURE_SECONDS):
            try:
                if self._source is None:
                    self._source = self._stores.source()
                    pace = Pace(self._source)
                assert pace is not None
                pace.reach(self._read)
                lag = pace.lag(self._stream, self._applied)
                if self._canary is not None:
                    self._canary.send(self._source)
                    lag = replace(lag, end_to_end=self._canary.seconds)
                self._observer.behind(lag)
            except SynclineError:
                self._close()
        self._close()

    def _close(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            self._stores.release(source)

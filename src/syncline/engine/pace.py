"""How old the target is: when it was last known to hold everything that the source's log told."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from ..connector import Source
from ..model import Lag, Position

MOST_ENDS = 256
"""So many ends of the log are kept; when there are more, every second one is enough."""


class Pace:
    """Compares where a stream is with where the log ended some time ago, so that seconds are honest under
    a load that never lets the log's end be reached. All calls come from the thread that owns `source`."""

    def __init__(self, source: Source, clock: Callable[[], float] = time.monotonic) -> None:
        self._source, self._clock = source, clock
        self._read: Position | None = None
        self._ends: deque[tuple[float, Position]] = deque()
        self._current: float | None = None

    def reach(self, position: Position) -> None:
        """Everything up to there was read, and is applied or needs no applying."""
        self._read = position
        while self._ends and self._source.compare(self._ends[0][1], position) <= 0:
            self._current = self._ends.popleft()[0]

    def lag(self, stream: str, applied: Position) -> Lag:
        """How far the stream is behind now; log that was read and held nothing for it does not count."""
        read = applied
        if self._read is not None and self._source.compare(self._read, applied) > 0:
            read = self._read
        lag, now = self._source.lag(stream, read), self._clock()
        if lag.amount == 0:
            self._ends.clear()
            self._current = now
        else:
            self._ends.append((now, self._source.ceiling()))
            if len(self._ends) > MOST_ENDS:
                self._ends = deque(list(self._ends)[::2])
        return replace(lag, seconds=None if self._current is None else now - self._current, at=read)

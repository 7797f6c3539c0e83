"""A limit on how fast a source is read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

PIECE_SECONDS = 2.0
"""What is read at once comes to about so much time of a limit: pauses are short, and so are transactions
that are open meanwhile."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many rows, or bytes, a second; more than 0."""

    amount: float
    unit: Literal["rows", "bytes"]

    def piece(self, unit: Literal["rows", "bytes"], most: int) -> int:
        """How much to read at once, at most `most`."""
        return max(1, min(most, int(self.amount * PIECE_SECONDS))) if unit == self.unit else most


class Throttle:
    """Keeps all readers of one source within a limit together; without a limit nobody waits.

    Only the speed depends on it: whoever is ended while waiting has lost nothing (Promise 8).
    """

    def __init__(self, limit: RateLimit | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._clock = limit, clock
        self._free = 0.0
        self._lock = threading.Lock()

    def spend(self, rows: int, nbytes: int) -> float:
        """So much was read: the seconds to wait before more is."""
        if self._limit is None:
            return 0.0
        amount = rows if self._limit.unit == "rows" else nbytes
        with self._lock:
            now = self._clock()
            self._free = max(self._free, now) + amount / self._limit.amount
            return self._free - now

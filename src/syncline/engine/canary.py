"""Measures a stream end to end: from the source's log through everything to the target's position."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from ..connector import Source
from ..errors import SynclineError

CANARY_SECONDS = 60.0
"""How often an idle stream writes to both ends for this (Race 13: timed, and never because of that)."""

QUICK_SECONDS = 2.0
"""One that takes longer is followed by another at once: the delay that it told may be over."""


class Canary:
    """Sends a numbered message through the log, and another one some time after it came back.

    A process that lives and a log that is read prove nothing: only what the target has committed does. `send`
    belongs to one thread, `arrived` to the one that applies. The clock is monotonic: one that is set changes
    nothing.
    """

    def __init__(self, stream: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._sent: tuple[int, float] | None = None
        self._last: float | None = None
        self._due = 0.0

    def send(self, source: Source) -> None:
        """Put one into the log when it is time and none is on its way."""
        now = self._clock()
        if self._sent is not None or now < self._due:
            return
        # Another than those of earlier workers, which may be in the log still.
        number = time.time_ns()
        self._sent = number, now
        try:
            written = source.canary(self._stream, number)
        except SynclineError:
            self._sent = None  # whether it is in the log is not known: it is not waited for
            raise
        if not written:
            self._sent, self._due = None, math.inf

    def arrived(self, number: int) -> None:
        """The target's position is past the message of that number."""
        if self._sent is not None and self._sent[0] == number:
            now = self._clock()
            self._last, self._sent = now - self._sent[1], None
            self._due = now + (CANARY_SECONDS if self._last <= QUICK_SECONDS else 0.0)

    @property
    def seconds(self) -> float | None:
        """How long the last one took, and at least as long as the one on its way has taken by now; None
        before there was one, and where there is none."""
        sent = self._sent
        if sent is None:
            return self._last
        return max(self._last or 0.0, self._clock() - sent[1])

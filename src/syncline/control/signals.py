"""Ctrl-C and SIGTERM: the first ends a run cleanly, the second at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Protocol, TypeVar

from ..errors import Interrupted

Result = TypeVar("Result")

_SIGNALS = [number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))]
_SHOW_CURSOR = "\x1b[?25h\n"


class Work(Protocol):
    """What a signal stops: a pipeline, or the supervisor of several."""

    def stop(self, signal_number: int = 2) -> None:
        """End cleanly, from a signal handler."""


class Stopper:
    """Passes the first signal on to the work; a second one ends the process at once.

    `announce` is called with a sentence for the user when the first arrives, `at_once` just before the
    process ends at the second."""

    def __init__(self, announce: Callable[[str], None], at_once: Callable[[], None] = lambda: None) -> None:
        self._announce, self._at_once = announce, at_once
        self._work: Work | None = None
        self.received: int | None = None
        """The signal that has arrived, if any."""

    def watch(self, work: Work) -> None:
        """From now on a signal stops this work. Raises Interrupted when one has arrived already."""
        self._work = work
        if self.received is not None:
            raise Interrupted(self.received)

    def run(self, work: Callable[[], Result]) -> Result:
        """Do the work under these signals, and return or raise what it does.

        It runs in a thread of its own: a handler must not wait until a long call into a driver is over,
        and Python runs handlers in the main thread only."""
        with self._installed(), ThreadPoolExecutor(1, "syncline") as pool:
            return pool.submit(work).result()

    @contextmanager
    def _installed(self) -> Iterator[None]:
        # What the caller had ignored (nohup, a shell's background job) stays ignored.
        ours = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._handle) for number in ours}
        try:
            yield
        finally:
            if self.received is None:  # else the process is about to end, and a second signal ends it at once
                for number, handler in before.items():
                    signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.receive(number)

    def receive(self, number: int) -> None:
        """Act as on a signal of that number; from any thread."""
        if self.received is not None:
            self._at_once()
            if sys.stderr.isatty():
                os.write(sys.stderr.fileno(), _SHOW_CURSOR.encode())
            os._exit(128 + number)
        self.received = number
        if self._work is not None:
            self._work.stop(number)
        self._announce("stopping; once more to end at once")

"""Keeps a target's open transaction from being taken for one that nobody ends (Race 12)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..connector import Apply
from ..errors import SynclineError

LINGER_SECONDS = 10.0


@contextmanager
def awake(apply: Apply) -> Iterator[None]:
    """Let the transaction speak now and then while the caller waits for something else: a source that is
    slow to answer, a function over many rows. The caller does not use the transaction meanwhile."""
    done = threading.Event()

    def speak() -> None:
        with suppress(SynclineError):  # what is wrong with it the caller's next call tells
            while not done.wait(LINGER_SECONDS):
                apply.linger()

    speaker = threading.Thread(target=speak, name="awake", daemon=True)
    speaker.start()
    try:
        yield
    finally:
        done.set()
        speaker.join()

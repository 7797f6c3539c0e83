"""The queue between the thread that reads a log and the one that applies it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from ..model import Batch

MOST_CHANGES = 50_000
"""The most changes that several batches come to when they are taken together: what is folded at once takes
memory by the change, however few bytes its cells are, and cannot be interrupted (Promise 8)."""


class Closed(Exception):
    """The other side of the queue has ended."""


class BatchQueue:
    """Batches in order, at most `max_bytes` of them (one larger batch passes alone): Promise 8."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._batches: deque[Batch] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    def put(self, batch: Batch) -> None:
        """Add a batch, waiting for room; Closed when the reader of the queue has ended."""
        size = batch.nbytes
        with self._changed:
            while self._bytes and self._bytes + size > self._max_bytes and not self._closed:
                self._changed.wait()
            if self._closed:
                raise Closed
            self._batches.append(batch)
            self._bytes += size
            self._changed.notify_all()

    def rest(self, seconds: float) -> None:
        """Let so much time pass before the next `put`; Closed when the reader of the queue ends meanwhile."""
        with self._changed:
            if self._changed.wait_for(lambda: self._closed, seconds):
                raise Closed

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more will be put; `error` reaches the other side once the queue is empty."""
        with self._changed:
            self._closed, self._error = True, error
            self._changed.notify_all()

    def close(self) -> None:
        """The applying side has ended: what waits in `put` gets Closed."""
        self.end()

    def take(self, max_wait: float) -> list[Batch]:
        """The batches that may be applied together, up to MOST_CHANGES, after waiting for the first one at
        most `max_wait` seconds; an empty list when none came. Raises what `end` was given, or Closed after
        a plain end."""
        deadline = time.monotonic() + max_wait
        with self._changed:
            while not self._batches:
                if self._closed:
                    raise self._error or Closed
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return []
                self._changed.wait(remaining)
            taken = [self._pop()]
            paths, changes = taken[0].paths(), taken[0].count
            while self._batches and taken[-1].complete and self._batches[0].complete:
                more = self._batches[0].paths()
                changes += self._batches[0].count
                if changes > MOST_CHANGES:
                    break
                if any(paths.get(table, path) != path for table, path in more.items()):
                    break
                paths |= more
                taken.append(self._pop())
            self._changed.notify_all()
            return taken

    def _pop(self) -> Batch:
        batch = self._batches.popleft()
        self._bytes -= batch.nbytes
        return batch


def fill(queue: BatchQueue, batches: Iterable[Batch], rest: Callable[[Batch], float]) -> None:
    """Put batches until they, or the other side, end, with as many seconds of rest after each as `rest` says;
    an error reaches the other side."""
    try:
        for batch in batches:
            queue.put(batch)
            queue.rest(rest(batch))
        queue.end()
    except Closed:
        return
    except BaseException as error:  # carried to the applying thread, which raises it
        queue.end(error)
